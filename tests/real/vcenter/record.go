package main

import (
	"sync"
	"time"
)

// Record is the ordered list of everything that clients have done.
type Record struct {
	mu    sync.Mutex
	seq   int
	calls []*Call
}

// Call is one SOAP call or one disk transfer.
type Call struct {
	Seq       int        `json:"seq"`
	Kind      string     `json:"kind"`
	Time      time.Time  `json:"time"`
	Method    string     `json:"method"`
	This      string     `json:"this,omitempty"`
	VM        string     `json:"vm,omitempty"`
	Lease     string     `json:"lease,omitempty"`
	Disk      string     `json:"disk,omitempty"`
	Session   string     `json:"session"`
	UserAgent string     `json:"userAgent"`
	Status    int        `json:"status"`
	Fault     string     `json:"fault"`
	Bytes     int64      `json:"bytes"`
	Finished  *time.Time `json:"finished"`
	Outcome   Outcome    `json:"outcome"`
}

// Outcome is the end of a call or a transfer.
type Outcome string

// The outcomes of calls and transfers.
const (
	Running    Outcome = "running"
	Completed  Outcome = "completed"
	Cut        Outcome = "cut"
	Truncated  Outcome = "truncated"
	ClientGone Outcome = "clientGone"
	Refused    Outcome = "refused"
)

// Begin adds a call.
func (r *Record) Begin(c Call) *Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	c.Seq = r.seq
	c.Time = time.Now()
	c.Outcome = Running
	r.calls = append(r.calls, &c)
	return &c
}

// Change alters a call under the lock.
func (r *Record) Change(c *Call, change func(*Call)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(c)
}

// Finish records the end of a call; a call ends once.
func (r *Record) Finish(c *Call, outcome Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Finished != nil {
		return
	}
	now := time.Now()
	c.Finished = &now
	c.Outcome = outcome
}

// List returns a copy of the calls.
func (r *Record) List() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Call, 0, len(r.calls))
	for _, c := range r.calls {
		list = append(list, *c)
	}
	return list
}

// Reset forgets all calls.
func (r *Record) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = nil
}
