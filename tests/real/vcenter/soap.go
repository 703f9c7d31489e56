package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"regexp"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// answer keeps a response until it may be sent.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// serveSDK passes a SOAP call to the simulator; it records and holds calls and gives their faults a text.
func (v *VCenter) serveSDK(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	method, this := peek(body)
	session := sessionCookie(r)
	call := v.record.Begin(Call{Kind: "soap", Method: method, This: this.Value, Session: session, UserAgent: r.UserAgent()})
	held := Held{Kind: "call", Method: method, This: this.Value, VM: v.pathOf(this), Session: session}
	hold := v.faults.TakeHold(method)
	if hold != nil && hold.When == holdBefore {
		held.When = holdBefore
		if v.gate.Wait(r.Context(), held) != nil {
			v.record.Finish(call, ClientGone)
			return
		}
	}
	reply := v.carryOut(r, body, method)
	fault, text := "", reply.body.Bytes()
	if reply.status >= http.StatusInternalServerError {
		fault, text = withText(text)
	}
	v.record.Change(call, func(c *Call) {
		c.Status, c.Fault = reply.status, fault
		if c.Session == "" {
			c.Session = newSession(reply.header)
		}
	})
	if hold != nil && hold.When == holdAfter {
		held.When = holdAfter
		if v.gate.Wait(r.Context(), held) != nil {
			v.record.Finish(call, ClientGone)
			return
		}
	}
	for name, values := range reply.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(reply.status)
	outcome := Completed
	if _, err := w.Write(text); err != nil {
		outcome = ClientGone
	}
	v.record.Finish(call, outcome)
}

// carryOut lets the simulator answer.
func (v *VCenter) carryOut(r *http.Request, body []byte, method string) *answer {
	reply := &answer{header: http.Header{}, status: http.StatusOK}
	r.Body = io.NopCloser(bytes.NewReader(body))
	v.service.ServeSDK(reply, r)
	switch method {
	case "Logout", "TerminateSession":
		v.endOrphans()
	case "Fetch":
		reply.emptyFetch()
	}
	return reply
}

// unsetProperty is the simulator's answer to a Fetch of a property that is not set; pyvmomi reads every property by Fetch
// and raises TypeError for it.
var unsetProperty = regexp.MustCompile(`(?s)<RetrievePropertiesExResponse .*</RetrievePropertiesExResponse>`)

// emptyFetch returns vSphere's answer: no value.
func (a *answer) emptyFetch() {
	fixed := unsetProperty.ReplaceAllLiteral(a.body.Bytes(), []byte(`<FetchResponse xmlns="urn:vim25"></FetchResponse>`))
	a.body = *bytes.NewBuffer(fixed)
}

// peek reads the method and the object of a SOAP request.
func peek(body []byte) (method string, this types.ManagedObjectReference) {
	decoder := xml.NewDecoder(bytes.NewReader(body))
	inBody := false
	for {
		token, err := decoder.Token()
		if err != nil {
			return method, this
		}
		start, ok := token.(xml.StartElement)
		switch {
		case !ok:
		case start.Name.Local == "Body":
			inBody = true
		case inBody && method == "":
			method = start.Name.Local
		case method != "" && start.Name.Local == "_this":
			_ = decoder.DecodeElement(&this, &start)
			return method, this
		}
	}
}

// sessionCookie is the session key of a request. pyvmomi sends it in quotes.
func sessionCookie(r *http.Request) string {
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// newSession is the session key that an answer sets.
func newSession(header http.Header) string {
	for _, cookie := range (&http.Response{Header: header}).Cookies() {
		if cookie.Name == soap.SessionCookieName {
			return cookie.Value
		}
	}
	return ""
}

func (v *VCenter) pathOf(ref types.ManagedObjectReference) string {
	if m := v.machine(ref); m != nil {
		return m.path
	}
	if l := v.leases.byID(ref.Value); l != nil {
		return l.machine.path
	}
	return ""
}
