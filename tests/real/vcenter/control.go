package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// problem is an error with a status for the control API's client.
type problem struct {
	status int
	text   string
}

func (p *problem) Error() string { return p.text }

func problemf(status int, format string, args ...any) error {
	return &problem{status, fmt.Sprintf(format, args...)}
}

// jsonObject is a JSON object.
type jsonObject = map[string]any

// controlAPI is the tests' view of the simulator. README.md documents it.
func (v *VCenter) controlAPI() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { reply(w, r, f) })
	}
	handle("GET /tasks", func(*http.Request) (any, error) { return jsonObject{"tasks": v.tasks()}, nil })
	handle("GET /sessions", func(*http.Request) (any, error) { return jsonObject{"sessions": v.sessionViews()}, nil })
	handle("GET /leases", func(r *http.Request) (any, error) {
		return jsonObject{"leases": v.leases.views(r.URL.Query().Get("all") != "")}, nil
	})
	handle("GET /vms", func(*http.Request) (any, error) { return jsonObject{"vms": v.vmViews()}, nil })
	handle("GET /calls", func(*http.Request) (any, error) { return jsonObject{"calls": v.record.List()}, nil })
	handle("POST /reset-calls", v.resetCalls)
	handle("GET /faults", func(*http.Request) (any, error) { return jsonObject{"faults": v.faults.List()}, nil })
	handle("POST /faults", v.postFaults)
	handle("POST /faults/clear", func(*http.Request) (any, error) {
		v.faults.Clear()
		return jsonObject{}, nil
	})
	handle("GET /held", v.getHeld)
	handle("POST /release", v.postRelease)
	handle("POST /vms/power", v.postPower)
	handle("POST /vms/set", v.postSet)
	handle("POST /account", v.postAccount)
	handle("POST /outage", v.postOutage)
	return mux
}

func reply(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	body, err := f(r)
	status := http.StatusOK
	if err != nil {
		status = http.StatusBadRequest
		if p, ok := err.(*problem); ok {
			status = p.status
		}
		body = jsonObject{"error": err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// decode reads a JSON body strictly.
func decode(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

func decodeBody(r *http.Request, into any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	return decode(data, into)
}

// taskView is a task as the control API shows it.
type taskView struct {
	Key           string     `json:"key"`
	DescriptionID string     `json:"descriptionId"`
	Entity        string     `json:"entity"`
	EntityName    string     `json:"entityName"`
	State         string     `json:"state"`
	Error         string     `json:"error"`
	ErrorMessage  string     `json:"errorMessage"`
	QueueTime     time.Time  `json:"queueTime"`
	StartTime     *time.Time `json:"startTime"`
	CompleteTime  *time.Time `json:"completeTime"`
	Progress      int32      `json:"progress"`
}

func (v *VCenter) tasks() []taskView {
	views := []taskView{}
	for _, ref := range v.registry().AllReference("Task") {
		task := ref.(*simulator.Task)
		var info types.TaskInfo
		ctx := v.context()
		ctx.WithLock(task, func() { info = task.Info })
		view := taskView{
			Key: task.Self.Value, DescriptionID: info.DescriptionId, EntityName: info.EntityName, State: string(info.State),
			QueueTime: info.QueueTime, StartTime: info.StartTime, CompleteTime: info.CompleteTime, Progress: info.Progress,
		}
		if info.Entity != nil {
			view.Entity = info.Entity.Value
		}
		if info.Error != nil {
			view.Error, view.ErrorMessage = faultName(info.Error.Fault), info.Error.LocalizedMessage
		}
		views = append(views, view)
	}
	slices.SortFunc(views, func(a, b taskView) int { return a.QueueTime.Compare(b.QueueTime) })
	return views
}

func (v *VCenter) sessionViews() []jsonObject {
	views := []jsonObject{}
	for _, s := range v.sessions() {
		views = append(views, jsonObject{
			"key": s.Key, "userName": s.UserName, "userAgent": s.UserAgent, "ipAddress": s.IpAddress,
			"loginTime": s.LoginTime, "lastActiveTime": s.LastActiveTime, "callCount": s.CallCount,
		})
	}
	return views
}

func (v *VCenter) vmViews() []jsonObject {
	views := []jsonObject{}
	for _, m := range v.allMachines() {
		vm := v.vm(m.ref)
		if vm == nil {
			continue
		}
		power := "off"
		ctx := v.context()
		ctx.WithLock(vm, func() {
			if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
				power = "on"
			}
		})
		m.mu.Lock()
		views = append(views, jsonObject{
			"name": m.spec.Name, "path": m.path, "moid": m.ref.Value, "power": power, "tools": m.tools,
			"powerOns": m.powerOns, "powerOffs": m.powerOffs, "shutdowns": m.shutdownsN,
		})
		m.mu.Unlock()
	}
	return views
}

func (v *VCenter) resetCalls(*http.Request) (any, error) {
	v.record.Reset()
	for _, m := range v.allMachines() {
		m.mu.Lock()
		m.powerOns, m.powerOffs, m.shutdownsN = 0, 0, 0
		m.mu.Unlock()
	}
	return jsonObject{}, nil
}

// findVM returns the only VM that matches name.
func (v *VCenter) findVM(name string) (*machine, error) {
	var found []*machine
	for _, m := range v.allMachines() {
		if m.named(name) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return nil, problemf(http.StatusNotFound, "no VM %q", name)
	case 1:
		return found[0], nil
	}
	return nil, problemf(http.StatusConflict, "%d VMs are called %q: give the path or the moid", len(found), name)
}

func (v *VCenter) postFaults(r *http.Request) (any, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	rules := make([]*Rule, 1)
	if data = bytes.TrimSpace(data); bytes.HasPrefix(data, []byte("[")) {
		err = decode(data, &rules)
	} else {
		err = decode(data, &rules[0])
	}
	if err != nil {
		return nil, err
	}
	for _, rule := range rules {
		if rule == nil {
			return nil, problemf(http.StatusBadRequest, "a rule is an object")
		}
		if err := rule.check(); err != nil {
			return nil, err
		}
		if rule.VM != "" {
			if _, err := v.findVM(rule.VM); err != nil {
				return nil, err
			}
		}
	}
	for _, rule := range rules {
		v.enforce(rule)
	}
	return jsonObject{"faults": v.faults.List()}, nil
}

// enforce carries a rule out now, or keeps it for later.
func (v *VCenter) enforce(rule *Rule) {
	switch {
	case rule.ExpireLease != "":
		for _, l := range v.leases.live() {
			if rule.VM == "" || l.machine.named(rule.VM) {
				v.expireLease(l)
			}
		}
	case rule.ExpireSession != "":
		v.expireSessions()
	default:
		v.faults.Add(rule)
	}
}

func (v *VCenter) getHeld(r *http.Request) (any, error) {
	seconds := 0.0
	if wait := r.URL.Query().Get("wait"); wait != "" {
		var err error
		if seconds, err = strconv.ParseFloat(wait, 64); err != nil {
			return nil, err
		}
	}
	return jsonObject{"held": v.gate.List(r.Context(), time.Duration(seconds*float64(time.Second)))}, nil
}

func (v *VCenter) postRelease(r *http.Request) (any, error) {
	var request struct {
		All bool `json:"all"`
		ID  int  `json:"id"`
	}
	if err := decodeBody(r, &request); err != nil {
		return nil, err
	}
	if request.All == (request.ID != 0) {
		return nil, problemf(http.StatusBadRequest, `give {"all":true} or {"id":N}`)
	}
	return jsonObject{"released": v.gate.Release(request.ID)}, nil
}

func (v *VCenter) postPower(r *http.Request) (any, error) {
	var request struct {
		VM    string `json:"vm"`
		State string `json:"state"`
	}
	if err := decodeBody(r, &request); err != nil {
		return nil, err
	}
	if err := oneOf("state", request.State, "on", "off"); err != nil {
		return nil, err
	}
	m, err := v.findVM(request.VM)
	if err != nil {
		return nil, err
	}
	v.setPower(m, request.State == "on")
	return jsonObject{}, nil
}

func (v *VCenter) postAccount(r *http.Request) (any, error) {
	var request struct {
		Lacks []string `json:"lacks"`
	}
	if err := decodeBody(r, &request); err != nil {
		return nil, err
	}
	if err := checkPrivileges(request.Lacks); err != nil {
		return nil, err
	}
	v.setLacks(request.Lacks)
	return jsonObject{}, nil
}

func (v *VCenter) postSet(r *http.Request) (any, error) {
	var request struct {
		VM              string   `json:"vm"`
		Tools           *string  `json:"tools"`
		ShutdownSeconds *float64 `json:"shutdownSeconds"`
		IgnoresShutdown *bool    `json:"ignoresShutdown"`
	}
	if err := decodeBody(r, &request); err != nil {
		return nil, err
	}
	m, err := v.findVM(request.VM)
	if err != nil {
		return nil, err
	}
	if request.Tools != nil {
		if err := oneOf("tools", *request.Tools, toolsRunning, toolsNotRunning, toolsNotInstalled); err != nil {
			return nil, err
		}
		v.setTools(m, *request.Tools)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if request.ShutdownSeconds != nil {
		m.shutdownSeconds = *request.ShutdownSeconds
	}
	if request.IgnoresShutdown != nil {
		m.ignoresShutdown = *request.IgnoresShutdown
	}
	return jsonObject{}, nil
}
