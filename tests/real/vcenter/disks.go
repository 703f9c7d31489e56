package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// diskPrefix is where a host serves disks: /nfc/<ticket>/<target>.
const diskPrefix = "/nfc/"

// streamBuffer is the size of one read and send.
const streamBuffer = 64 << 10

type connKey struct{}

// rememberConn lets a handler reach its TCP connection.
func rememberConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// hangUp closes the TCP connection of a request without a TLS close: as a client sees it if a host crashes.
func hangUp(r *http.Request) {
	c := r.Context().Value(connKey{}).(net.Conn)
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	c.Close()
}

// serveDisk answers a request for a file of a lease.
func (v *VCenter) serveDisk(w http.ResponseWriter, r *http.Request) {
	ticket, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, diskPrefix), "/")
	session := strings.Trim(sessionCookie(r), `"`)
	call := v.record.Begin(Call{Kind: "disk", Method: r.Method, Disk: name, Session: session, UserAgent: r.UserAgent()})
	lease := v.leases.byTicket(ticket)
	if lease != nil {
		v.record.Change(call, func(c *Call) { c.VM, c.Lease = lease.machine.path, lease.id })
	}
	file, status := v.admit(lease, name, session, r.Method)
	v.record.Change(call, func(c *Call) { c.Status = status })
	if status != http.StatusOK {
		v.record.Finish(call, Refused)
		http.Error(w, http.StatusText(status), status)
		return
	}
	s := &stream{
		v: v, w: w, r: r, flush: http.NewResponseController(w).Flush, lease: lease, file: file, call: call,
		target: target{lease.machine, name}, fired: map[int]bool{},
	}
	outcome := s.run()
	v.record.Finish(call, outcome)
	if outcome == Cut || outcome == ClientGone {
		panic(http.ErrAbortHandler) // no terminating chunk
	}
}

// admit decides whether a request may have the file.
func (v *VCenter) admit(l *lease, name, session, method string) (*leasedFile, int) {
	if l == nil {
		return nil, http.StatusNotFound
	}
	t := target{l.machine, name}
	if v.faults.Take(t, func(r *Rule) bool { return r.HTTP500 > 0 }) != nil {
		return nil, http.StatusInternalServerError
	}
	if v.faults.Take(t, func(r *Rule) bool { return r.HTTP401 > 0 }) != nil {
		return nil, http.StatusUnauthorized
	}
	switch _, end := v.leases.status(l); end {
	case "":
	case endExpired: // as ESXi does
		return nil, http.StatusInternalServerError
	default:
		return nil, http.StatusNotFound
	}
	if yes(v.inventory.RequireCookie) && !v.live(session) {
		return nil, http.StatusUnauthorized
	}
	if method != http.MethodGet {
		return nil, http.StatusMethodNotAllowed
	}
	file := v.leases.file(l, name)
	if file == nil {
		return nil, http.StatusNotFound
	}
	return file, http.StatusOK
}

// stream is one transfer.
type stream struct {
	v      *VCenter
	w      http.ResponseWriter
	r      *http.Request
	flush  func() error
	lease  *lease
	file   *leasedFile
	call   *Call
	target target

	sent    int64
	corrupt bool         // the next byte is to be inverted
	fired   map[int]bool // rules that this stream has had: each only once
	digest  hash.Hash
}

// run sends the file. It sets no Content-Length and ignores Range: a host deflates while it sends.
func (s *stream) run() Outcome {
	in, err := os.Open(s.file.name)
	if err != nil {
		return Cut
	}
	defer in.Close()
	// When the lease ends, so does the connection, even if a write to it blocks.
	defer context.AfterFunc(s.lease.ctx, func() { hangUp(s.r) })()
	kind := "application/octet-stream"
	if s.file.disk != nil {
		kind = "application/x-vnd.vmware-streamVmdk"
	}
	s.w.Header().Set("Content-Type", kind)
	s.w.WriteHeader(http.StatusOK)
	if err := s.flush(); err != nil { // headers first: this makes the body chunked whatever its length
		return s.broken()
	}
	s.digest = sha1.New()
	outcome := s.copy(bufio.NewReaderSize(in, streamBuffer))
	if outcome == Completed {
		s.v.leases.sentFile(s.file, hex.EncodeToString(s.digest.Sum(nil)), s.sent)
	}
	return outcome
}

// broken reports who ended a transfer that failed.
func (s *stream) broken() Outcome {
	if s.lease.ctx.Err() != nil {
		return Cut
	}
	return ClientGone
}

func (s *stream) copy(in io.Reader) Outcome {
	buffer := make([]byte, streamBuffer)
	for {
		if outcome := s.interrupt(); outcome != "" {
			return outcome
		}
		n, err := in.Read(buffer[:s.chunk()])
		if n > 0 {
			s.digest.Write(buffer[:n])
			if outcome := s.send(buffer[:n]); outcome != "" {
				return outcome
			}
		}
		if errors.Is(err, io.EOF) {
			return Completed
		}
		if err != nil {
			return Cut
		}
	}
}

// chunk is the size of the next read: not beyond an interruption, and small if the rate is low.
func (s *stream) chunk() int64 {
	n := int64(streamBuffer)
	if next := s.v.faults.Next(s.target, s.sent); next > s.sent {
		n = min(n, next-s.sent)
	}
	if s.corrupt {
		n = 1
	}
	if rate := s.v.faults.Rate(s.target); rate > 0 {
		const perSecond = 20
		n = min(n, max(1, rate/perSecond))
	}
	return n
}

func (s *stream) send(data []byte) Outcome {
	if s.corrupt {
		data[0] ^= 0xff
		s.corrupt = false
	}
	n, err := s.w.Write(data)
	s.sent += int64(n)
	s.v.record.Change(s.call, func(c *Call) { c.Bytes = s.sent })
	if err != nil || s.lease.ctx.Err() != nil || s.r.Context().Err() != nil {
		return s.broken()
	}
	return s.throttle(int64(n))
}

// throttle sleeps as long as n bytes take at the wanted rate.
func (s *stream) throttle(n int64) Outcome {
	rate := s.v.faults.Rate(s.target)
	if rate == 0 {
		return ""
	}
	if err := s.flush(); err != nil {
		return s.broken()
	}
	select {
	case <-time.After(time.Duration(float64(n) / float64(rate) * float64(time.Second))):
		return ""
	case <-s.r.Context().Done():
	case <-s.lease.ctx.Done():
	}
	return s.broken()
}

// interrupt carries out the rules for the current offset.
func (s *stream) interrupt() Outcome {
	for {
		rule := s.v.faults.TakeAt(s.target, s.sent, s.fired)
		if rule == nil {
			return ""
		}
		s.fired[rule.ID] = true
		if err := s.flush(); err != nil {
			return s.broken()
		}
		switch {
		case rule.CutAfterBytes != nil:
			hangUp(s.r)
			return Cut
		case rule.TruncateAt != nil:
			return Truncated
		case rule.CorruptAt != nil:
			s.corrupt = true
		case rule.PauseAt != nil:
			if s.pause() != nil {
				return s.broken()
			}
		}
	}
}

// pause waits until a test releases the stream.
func (s *stream) pause() error {
	ctx, cancel := context.WithCancel(s.r.Context())
	defer cancel()
	defer context.AfterFunc(s.lease.ctx, cancel)()
	return s.v.gate.Wait(ctx, Held{
		Kind: "stream", Method: "GET", VM: s.lease.machine.path, Disk: s.target.disk, At: s.sent, Session: s.call.Session,
	})
}
