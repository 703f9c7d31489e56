package main

import "testing"

func TestOutage(t *testing.T) {
	for _, mode := range []string{outageRefuse, outageReset, outage503, outageNotReady} {
		t.Run(mode, func(t *testing.T) {
			l := smallLab(t, "300")
			l.login()
			l.ask("POST", "/outage", `{"mode": "`+mode+`"}`, nil)
			if _, err := l.tryLogin("secret"); err == nil {
				t.Error("the API answers during an outage")
			}
			if sessions := l.sessions(); len(sessions) != 0 {
				t.Errorf("sessions survive an outage: %v", sessions)
			}
			l.ask("POST", "/outage", `{"mode": ""}`, nil)
			l.login()
		})
	}
}
