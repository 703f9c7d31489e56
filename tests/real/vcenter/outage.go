package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/vmware/govmomi/vim25"
)

// Outages: how a vCenter that restarts answers, from first to last.
const (
	outageNone     = ""
	outageRefuse   = "refuse"   // nothing listens
	outageReset    = "reset"    // connections are accepted and reset in the TLS handshake
	outage503      = "503"      // its proxy answers for services that do not run yet
	outageNotReady = "notReady" // the API answers each call with a fault
)

const (
	gatewayPage = "<html><body><h1>503 Service Unavailable</h1> (Failed to connect to endpoint)</body></html>"

	notReadyFault = `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><soapenv:Fault>
<faultcode>ServerFaultCode</faultcode>
<faultstring>A general system error occurred: The service is not ready</faultstring>
<detail><SystemErrorFault xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="SystemError">
<reason>The service is not ready</reason></SystemErrorFault></detail>
</soapenv:Fault></soapenv:Body></soapenv:Envelope>`
)

// outage is the listener of the API, which may be away for a while.
type outage struct {
	mu      sync.Mutex
	changed *sync.Cond
	mode    string
	inner   net.Listener // nil: nothing listens
	address net.Addr
	closed  bool
	conns   map[*outageConn]struct{}
}

func newOutage(inner net.Listener) *outage {
	o := &outage{inner: inner, address: inner.Addr(), conns: map[*outageConn]struct{}{}}
	o.changed = sync.NewCond(&o.mu)
	return o
}

// Set begins an outage, which breaks all connections, or ends it.
func (o *outage) Set(mode string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mode = mode
	if mode != outageNone {
		for c := range o.conns {
			reset(c.Conn)
		}
	}
	if mode == outageRefuse {
		if o.inner != nil {
			o.inner.Close()
			o.inner = nil
		}
		return nil
	}
	var err error
	if o.inner == nil {
		o.inner, err = net.Listen("tcp", o.address.String())
		o.changed.Broadcast()
	}
	return err
}

func (o *outage) Mode() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mode
}

func (o *outage) Accept() (net.Conn, error) {
	for {
		inner, err := o.current()
		if err != nil {
			return nil, err
		}
		conn, err := inner.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			continue
		case err != nil:
			return nil, err
		case o.Mode() == outageReset:
			reset(conn)
			continue
		}
		tracked := &outageConn{Conn: conn, outage: o}
		o.mu.Lock()
		o.conns[tracked] = struct{}{}
		o.mu.Unlock()
		return tracked, nil
	}
}

// current waits until something listens.
func (o *outage) current() (net.Listener, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.inner == nil && !o.closed {
		o.changed.Wait()
	}
	if o.closed {
		return nil, net.ErrClosed
	}
	return o.inner, nil
}

func (o *outage) Addr() net.Addr { return o.address }

func (o *outage) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.changed.Broadcast()
	if o.inner == nil {
		return nil
	}
	return o.inner.Close()
}

type outageConn struct {
	net.Conn
	outage *outage
}

func (c *outageConn) Close() error {
	c.outage.mu.Lock()
	delete(c.outage.conns, c)
	c.outage.mu.Unlock()
	return c.Conn.Close()
}

// reset closes a connection by RST instead of FIN.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}

// behindGateway answers instead of the services that are away.
func (v *VCenter) behindGateway(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mode := v.outage.Mode()
		isCall := r.URL.Path == vim25.Path || r.URL.Path == vim25.Path+"/vimService"
		switch {
		case mode == outage503:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, gatewayPage)
		case mode == outageNotReady && isCall:
			w.Header().Set("Content-Type", "text/xml; charset=utf-8")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, notReadyFault)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// postOutage begins or ends an outage. vCenter does not remember its sessions across a restart.
func (v *VCenter) postOutage(r *http.Request) (any, error) {
	var request struct {
		Mode string `json:"mode"`
	}
	if err := decodeBody(r, &request); err != nil {
		return nil, err
	}
	modes := []string{outageNone, outageRefuse, outageReset, outage503, outageNotReady}
	if err := oneOf("mode", request.Mode, modes...); err != nil {
		return nil, err
	}
	if err := v.outage.Set(request.Mode); err != nil {
		return nil, fmt.Errorf("cannot listen again: %w", err)
	}
	if request.Mode != outageNone {
		v.expireSessions()
	}
	return jsonObject{}, nil
}
