package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	vapi "github.com/vmware/govmomi/vapi/simulator"
)

const (
	restPrefix  = "/rest/"
	sessionPath = "/rest/com/vmware/cis/session"
	taggingPath = "/rest/com/vmware/cis/tagging/"
	restSession = "vmware-api-session-id"
)

// automation is the Automation API of vCenter, as far as govmomi simulates it: sessions and tags.
type automation struct {
	handler http.Handler
	token   string
}

// newAutomation starts the API and logs in, as the administrator who creates the tags.
func (v *VCenter) newAutomation() (*automation, error) {
	_, handler := vapi.New(v.service.Listen, v.registry())
	a := &automation{handler: handler}
	request := httptest.NewRequest(http.MethodPost, sessionPath, nil)
	request.SetBasicAuth(v.inventory.Username, v.inventory.Password)
	return a, a.carryOut(request, &a.token)
}

// carryOut makes a request in process and reads the value of its answer.
func (a *automation) carryOut(request *http.Request, value any) error {
	request.Header.Set(restSession, a.token)
	answer := httptest.NewRecorder()
	a.handler.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		return fmt.Errorf("%s %s: status %d: %s", request.Method, request.URL, answer.Code, answer.Body)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(answer.Body.Bytes(), &struct {
		Value any `json:"value"`
	}{value})
}

func (a *automation) post(path string, body, value any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return a.carryOut(httptest.NewRequest(http.MethodPost, taggingPath+path, bytes.NewReader(data)), value)
}

// addTags creates the tags of the inventory and attaches them to the VMs. A tag is written CATEGORY:NAME.
func (v *VCenter) addTags() error {
	vms := map[string][]jsonObject{}
	for _, m := range v.allMachines() {
		for _, tag := range m.spec.Tags {
			vms[tag] = append(vms[tag], jsonObject{"id": m.ref.Value, "type": m.ref.Type})
		}
	}
	tags := make([]string, 0, len(vms))
	for tag := range vms {
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	categories := map[string]string{}
	for _, tag := range tags {
		category, name, _ := strings.Cut(tag, ":")
		if categories[category] == "" {
			var id string
			spec := jsonObject{"name": category, "cardinality": "MULTIPLE", "associable_types": []string{"VirtualMachine"}}
			if err := v.automation.post("category", jsonObject{"create_spec": spec}, &id); err != nil {
				return err
			}
			categories[category] = id
		}
		var id string
		spec := jsonObject{"name": name, "category_id": categories[category]}
		if err := v.automation.post("tag", jsonObject{"create_spec": spec}, &id); err != nil {
			return err
		}
		attach := "tag-association/id:" + id + "?~action=attach-tag-to-multiple-objects"
		if err := v.automation.post(attach, jsonObject{"object_ids": vms[tag]}, nil); err != nil {
			return err
		}
	}
	return nil
}

// serveAutomation answers a client and records the call.
func (v *VCenter) serveAutomation(w http.ResponseWriter, r *http.Request) {
	method := r.Method + " " + r.URL.RequestURI()
	call := v.record.Begin(Call{Kind: "rest", Method: method, Session: r.Header.Get(restSession), UserAgent: r.UserAgent()})
	answer := httptest.NewRecorder()
	v.automation.handler.ServeHTTP(answer, r)
	v.record.Change(call, func(c *Call) { c.Status = answer.Code })
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	outcome := Completed
	if _, err := w.Write(answer.Body.Bytes()); err != nil {
		outcome = ClientGone
	}
	v.record.Finish(call, outcome)
}
