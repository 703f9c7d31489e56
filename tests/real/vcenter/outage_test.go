package main

import (
	"context"
	"net/url"
	"testing"

	"github.com/vmware/govmomi"
)

// answers reports whether a client can connect to the API; it does not log in.
func (l *lab) answers() bool {
	address, err := url.Parse(l.ready().URL)
	must(l.T, err)
	_, err = govmomi.NewClient(context.Background(), address, true)
	return err == nil
}

func TestOutage(t *testing.T) {
	for _, mode := range []string{outageRefuse, outageReset, outage503, outageNotReady} {
		t.Run(mode, func(t *testing.T) {
			l := smallLab(t, "300")
			l.login()
			l.ask("POST", "/outage", `{"mode": "`+mode+`"}`, nil)
			if l.answers() {
				t.Error("the API answers during an outage")
			}
			if sessions := l.sessions(); len(sessions) != 0 {
				t.Errorf("sessions survive an outage: %v", sessions)
			}
			l.ask("POST", "/outage", `{"mode": ""}`, nil)
			if !l.answers() {
				t.Error("the API does not answer after the outage")
			}
			l.login()
		})
	}
}
