package main

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/vim25/types"
)

// Rule is one fault to inject. README.md documents each; exactly one action is set.
type Rule struct {
	ID    int    `json:"id,omitempty"`
	Disk  string `json:"disk,omitempty"`
	VM    string `json:"vm,omitempty"`
	Times int    `json:"times,omitempty"`

	CutAfterBytes  *int64 `json:"cutAfterBytes,omitempty"`
	TruncateAt     *int64 `json:"truncateAt,omitempty"`
	CorruptAt      *int64 `json:"corruptAt,omitempty"`
	PauseAt        *int64 `json:"pauseAt,omitempty"`
	BytesPerSecond int64  `json:"bytesPerSecond,omitempty"`
	HTTP500        int    `json:"http500,omitempty"`
	HTTP401        int    `json:"http401,omitempty"`
	LeaseError     int    `json:"leaseError,omitempty"`
	ExportFault    string `json:"exportFault,omitempty"`
	LoginFault     int    `json:"loginFault,omitempty"`
	ExpireLease    string `json:"expireLease,omitempty"`
	ExpireSession  string `json:"expireSession,omitempty"`
	Hold           *Hold  `json:"hold,omitempty"`

	CallFault *CallFault `json:"callFault,omitempty"`
}

// CallFault selects the SOAP call of a logged-in client that fails, and its fault.
type CallFault struct {
	Method string `json:"method"`
	Fault  string `json:"fault"`
}

// Hold selects the SOAP call to hold.
type Hold struct {
	Method string `json:"method"`
	When   string `json:"when"`
	Nth    int    `json:"nth"`
}

const (
	holdBefore = "before"
	holdAfter  = "after"
)

// check completes the rule or returns its error.
func (r *Rule) check() error {
	for _, count := range []int{r.HTTP500, r.HTTP401, r.LeaseError, r.LoginFault} {
		if count > 0 {
			r.Times = count
		}
	}
	if r.Times == 0 && r.BytesPerSecond == 0 {
		r.Times = 1
	}
	if r.Times == 0 {
		r.Times = math.MaxInt
	}
	if n := r.actions(); n != 1 {
		return fmt.Errorf("a rule has exactly one action, this one has %d", n)
	}
	if r.ExpireLease != "" && r.ExpireLease != "now" || r.ExpireSession != "" && r.ExpireSession != "now" {
		return errors.New(`expireLease and expireSession: only "now"`)
	}
	if r.ExportFault != "" {
		_, err := newFault(r.ExportFault, types.ManagedObjectReference{})
		return err
	}
	if c := r.CallFault; c != nil {
		_, err := newFault(c.Fault, types.ManagedObjectReference{})
		return err
	}
	if h := r.Hold; h != nil {
		or(&h.When, holdBefore)
		or(&h.Nth, 1)
		return first(oneOf("hold.when", h.When, holdBefore, holdAfter))
	}
	return nil
}

// actions counts the actions that are set.
func (r *Rule) actions() int {
	n := 0
	for _, set := range []bool{
		r.CutAfterBytes != nil, r.TruncateAt != nil, r.CorruptAt != nil, r.PauseAt != nil, r.BytesPerSecond > 0,
		r.HTTP500 > 0, r.HTTP401 > 0, r.LeaseError > 0, r.ExportFault != "", r.LoginFault > 0,
		r.ExpireLease != "", r.ExpireSession != "", r.Hold != nil, r.CallFault != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

// at is the offset at which a rule interrupts a stream.
func (r *Rule) at() (int64, bool) {
	for _, offset := range []*int64{r.CutAfterBytes, r.TruncateAt, r.CorruptAt, r.PauseAt} {
		if offset != nil {
			return *offset, true
		}
	}
	return 0, false
}

// target is the selection of a rule.
type target struct {
	vm   *machine
	disk string
}

func (r *Rule) matches(t target) bool {
	if r.VM != "" && (t.vm == nil || !t.vm.named(r.VM)) {
		return false
	}
	return r.Disk == "" || r.Disk == t.disk || r.Disk == strings.TrimSuffix(t.disk, ".vmdk")
}

// Faults is the set of rules that have not fired yet.
type Faults struct {
	mu    sync.Mutex
	next  int
	rules []*Rule
}

// Add activates a checked rule.
func (f *Faults) Add(r *Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	r.ID = f.next
	f.rules = append(f.rules, r)
}

// List returns a copy of the rules.
func (f *Faults) List() []Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Rule, 0, len(f.rules))
	for _, r := range f.rules {
		list = append(list, *r)
	}
	return list
}

// Clear removes all rules.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Take fires the first wanted rule that matches t, if there is one.
func (f *Faults) Take(t target, wanted func(*Rule) bool) *Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.matches(t) && wanted(r) {
			f.fire(r)
			return r
		}
	}
	return nil
}

func (f *Faults) fire(r *Rule) {
	if r.Times--; r.Times <= 0 {
		f.rules = slices.DeleteFunc(f.rules, func(x *Rule) bool { return x == r })
	}
}

// TakeHold counts a SOAP call and returns the hold that applies to it, if any.
func (f *Faults) TakeHold(method string) *Hold {
	f.mu.Lock()
	defer f.mu.Unlock()
	var taken *Hold
	for _, r := range slices.Clone(f.rules) {
		if r.Hold == nil || r.Hold.Method != method {
			continue
		}
		if r.Hold.Nth > 1 {
			r.Hold.Nth--
			continue
		}
		if taken == nil {
			taken = &Hold{Method: method, When: r.Hold.When}
			f.fire(r)
		}
	}
	return taken
}

// Next returns the smallest offset after off at which a rule interrupts the stream t.
func (f *Faults) Next(t target, off int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := int64(math.MaxInt64)
	for _, r := range f.rules {
		if at, ok := r.at(); ok && at > off && r.matches(t) {
			next = min(next, at)
		}
	}
	return next
}

// TakeAt fires a rule that interrupts the stream t at exactly off and is not in fired.
func (f *Faults) TakeAt(t target, off int64, fired map[int]bool) *Rule {
	return f.Take(t, func(r *Rule) bool {
		at, ok := r.at()
		return ok && at == off && !fired[r.ID]
	})
}

// Rate is the limit for the stream t in bytes per second, or 0.
func (f *Faults) Rate(t target) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.BytesPerSecond > 0 && r.matches(t) {
			return r.BytesPerSecond
		}
	}
	return 0
}

// newFault makes a vim fault by its name. Required references are set to ref, as clients refuse empty ones.
func newFault(name string, ref types.ManagedObjectReference) (types.BaseMethodFault, error) {
	kind, ok := types.TypeFunc()(name)
	if !ok {
		return nil, fmt.Errorf("no fault %q in the vSphere API", name)
	}
	value := reflect.New(kind)
	fault, ok := value.Interface().(types.BaseMethodFault)
	if !ok {
		return nil, fmt.Errorf("%q is not a fault of the vSphere API", name)
	}
	for i := range kind.NumField() {
		if field := value.Elem().Field(i); field.Type() == reflect.TypeOf(ref) {
			field.Set(reflect.ValueOf(ref))
		}
	}
	if f, ok := fault.(*types.InvalidPowerState); ok {
		f.RequestedState = types.VirtualMachinePowerStatePoweredOff
		f.ExistingState = types.VirtualMachinePowerStatePoweredOn
	}
	return fault, nil
}
