package main

import (
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// guestNames are the names vSphere shows for some guest ids.
var guestNames = map[string]string{
	"debian12_64Guest":       "Debian GNU/Linux 12 (64-bit)",
	"ubuntu64Guest":          "Ubuntu Linux (64-bit)",
	"rhel9_64Guest":          "Red Hat Enterprise Linux 9 (64-bit)",
	"windows2019srv_64Guest": "Microsoft Windows Server 2019 (64-bit)",
	"windows11_64Guest":      "Microsoft Windows 11 (64-bit)",
	"otherGuest64":           "Other (64-bit)",
}

func guestFullName(id string) string {
	if name := guestNames[id]; name != "" {
		return name
	}
	return id
}

// uptime is how long a VM that is on at the start has been on.
const uptime = time.Hour

// setPower changes the power without a task, as from within the guest or before the test.
func (v *VCenter) setPower(m *machine, on bool) {
	vm := v.vm(m.ref)
	if vm == nil {
		return
	}
	ctx := v.context()
	before := types.VirtualMachinePowerStatePoweredOff
	defer func() { v.postPowerEvents(m, before, on) }()
	ctx.WithLock(vm, func() {
		before = vm.Runtime.PowerState
		state := types.VirtualMachinePowerStatePoweredOff
		if on {
			state = types.VirtualMachinePowerStatePoweredOn
		}
		ctx.Update(vm, []types.PropertyChange{
			{Name: "runtime.powerState", Val: state},
			{Name: "summary.runtime.powerState", Val: state},
		})
	})
}

// guestChanges are the properties that follow from power and tools.
func (m *machine) guestChanges(on bool) []types.PropertyChange {
	m.mu.Lock()
	defer m.mu.Unlock()
	status, running, version := types.VirtualMachineToolsStatusToolsNotRunning,
		types.VirtualMachineToolsRunningStatusGuestToolsNotRunning, types.VirtualMachineToolsVersionStatusGuestToolsUnmanaged
	switch {
	case m.tools == toolsNotInstalled:
		status, version = types.VirtualMachineToolsStatusToolsNotInstalled, types.VirtualMachineToolsVersionStatusGuestToolsNotInstalled
	case m.tools == toolsRunning && on:
		status, running = types.VirtualMachineToolsStatusToolsOk, types.VirtualMachineToolsRunningStatusGuestToolsRunning
	}
	state := types.VirtualMachineGuestStateNotRunning
	if on {
		state = types.VirtualMachineGuestStateRunning
	}
	var boot types.AnyType
	if on {
		boot = m.booted
	}
	return []types.PropertyChange{
		{Name: "guest.toolsStatus", Val: status},
		{Name: "guest.toolsRunningStatus", Val: string(running)},
		{Name: "guest.toolsVersionStatus", Val: string(version)},
		{Name: "guest.toolsVersionStatus2", Val: string(version)},
		{Name: "guest.guestState", Val: string(state)},
		{Name: "guest.guestFullName", Val: m.spec.GuestFullName},
		{Name: "guest.guestId", Val: m.spec.GuestID},
		{Name: "summary.guest.toolsStatus", Val: status},
		{Name: "summary.guest.toolsRunningStatus", Val: string(running)},
		{Name: "summary.guest.toolsVersionStatus2", Val: string(version)},
		{Name: "runtime.bootTime", Val: boot},
		{Name: "summary.runtime.bootTime", Val: boot},
	}
}

// nextLife records a change of power.
func (m *machine) nextLife() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lives++
	m.booted = time.Now().UTC()
}

// inLife reports whether the power has not changed since lives was life.
func (m *machine) inLife(life int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lives == life
}

// setTools changes the tools of a VM while it runs.
func (v *VCenter) setTools(m *machine, tools string) {
	m.mu.Lock()
	m.tools = tools
	m.mu.Unlock()
	vm := v.vm(m.ref)
	ctx := v.context()
	ctx.WithLock(vm, func() {
		ctx.Update(vm, m.guestChanges(vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn))
	})
}

// ShutdownGuest asks the guest to shut down. The simulator's own method powers off at once, whatever the tools.
// API reference: ToolsUnavailable if VMware Tools is not running, InvalidPowerState if the VM is not powered on.
func (o *overrides) ShutdownGuest(ctx *simulator.Context, req *types.ShutdownGuest) soap.HasFault {
	body := new(methods.ShutdownGuestBody)
	m, vm := o.v.machine(req.This), o.v.vm(req.This)
	var power types.VirtualMachinePowerState
	ctx.WithLock(vm, func() { power = vm.Runtime.PowerState })
	if power != types.VirtualMachinePowerStatePoweredOn {
		body.Fault_ = simulator.Fault("", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: power,
		})
		return body
	}
	m.mu.Lock()
	tools, ignores, life := m.tools, m.ignoresShutdown, m.lives
	delay := time.Duration(m.shutdownSeconds * float64(time.Second))
	m.mu.Unlock()
	if tools != toolsRunning {
		body.Fault_ = simulator.Fault("", new(types.ToolsUnavailable))
		return body
	}
	if !ignores {
		time.AfterFunc(delay, func() {
			if m.inLife(life) { // not powered off and on again meanwhile
				o.v.setPower(m, false)
			}
		})
	}
	// Task and event only record that the guest was asked, and who asked it.
	o.v.postEvent(ctx, &types.VmGuestShutdownEvent{VmEvent: o.v.vmEvent(m)})
	o.v.finishTask(o.v.newTask(req.This, "VirtualMachine.shutdownGuest", "ShutdownGuest"), nil)
	body.Res = new(types.ShutdownGuestResponse)
	return body
}

// watcher sees every change of an object and adds what the simulator leaves out.
type watcher struct {
	mo.ExtensionManager
	v *VCenter
}

func newWatcher(v *VCenter) *watcher {
	w := &watcher{v: v}
	w.Self = types.ManagedObjectReference{Type: "Watcher", Value: "watcher"}
	return w
}

// PutObject gives a new task the name of its entity and of the user.
func (w *watcher) PutObject(_ *simulator.Context, obj mo.Reference) {
	task, ok := obj.(*simulator.Task)
	if !ok || task.Info.Entity == nil {
		return
	}
	if m := w.v.machine(*task.Info.Entity); m != nil {
		task.Info.EntityName = m.spec.Name
	}
	task.Info.Reason = &types.TaskReasonUser{UserName: w.v.inventory.Username}
}

// UpdateObject lets guest properties follow the power, and gives failed tasks a text.
func (w *watcher) UpdateObject(ctx *simulator.Context, obj mo.Reference, changes []types.PropertyChange) {
	for _, change := range changes {
		switch o := obj.(type) {
		case *mo.VirtualMachine:
			if m := w.v.machine(o.Self); m != nil && change.Name == "runtime.powerState" {
				m.nextLife()
				ctx.Update(o, m.guestChanges(change.Val == types.VirtualMachinePowerStatePoweredOn))
			}
		case *mo.Task:
			if change.Name == "info.error" && o.Info.Error != nil {
				o.Info.Error.LocalizedMessage = faultText(o.Info.Error.Fault)
			}
		}
	}
}

// RemoveObject is part of simulator.RegisterObject.
func (*watcher) RemoveObject(*simulator.Context, types.ManagedObjectReference) {}
