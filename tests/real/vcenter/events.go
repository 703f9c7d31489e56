package main

import (
	"path"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// vmEvent is the part that every event of a VM has: the VM, its host, its datacenter.
func (v *VCenter) vmEvent(m *machine) types.VmEvent {
	host := v.registry().Get(*v.vm(m.ref).Runtime.Host).(*simulator.HostSystem)
	argument := func(name string) types.EntityEventArgument { return types.EntityEventArgument{Name: name} }
	return types.VmEvent{Event: types.Event{
		Vm:         &types.VmEventArgument{EntityEventArgument: argument(m.spec.Name), Vm: m.ref},
		Host:       &types.HostEventArgument{EntityEventArgument: argument(host.Name), Host: host.Self},
		Datacenter: &types.DatacenterEventArgument{EntityEventArgument: argument(path.Base(m.site.spec.Name)), Datacenter: m.site.datacenter},
	}}
}

// postPowerEvents records a change of power that no task made, such as the end of a guest's shutdown. Event.userName of
// such an event is empty: nobody asked for it by the API.
func (v *VCenter) postPowerEvents(m *machine, before types.VirtualMachinePowerState, on bool) {
	nobody := *v.context()
	session := *nobody.Session
	session.UserName = ""
	nobody.Session = &session
	switch {
	case on && before != types.VirtualMachinePowerStatePoweredOn:
		v.postEvent(&nobody, &types.VmStartingEvent{VmEvent: v.vmEvent(m)})
		v.postEvent(&nobody, &types.VmPoweredOnEvent{VmEvent: v.vmEvent(m)})
	case !on && before == types.VirtualMachinePowerStatePoweredOn:
		v.postEvent(&nobody, &types.VmPoweredOffEvent{VmEvent: v.vmEvent(m)})
	}
}

// refreshLatestEvent sets EventManager.latestEvent before a client reads it: the simulator leaves it empty. The API
// reference calls it "the latest event that happened on the VirtualCenter server". Under ESXi the simulator answers no
// QueryEvents, and it stays empty.
func (v *VCenter) refreshLatestEvent(m *simulator.Method) {
	if !readsEventManager(m) {
		return
	}
	ctx := v.context()
	events := v.registry().EventManager()
	ctx.WithLock(events, func() {
		body, _ := events.QueryEvents(ctx, &types.QueryEvents{This: events.Self}).(*methods.QueryEventsBody)
		if body != nil && body.Res != nil && len(body.Res.Returnval) > 0 {
			events.LatestEvent = body.Res.Returnval[0] // the newest comes first
		}
	})
}

func readsEventManager(m *simulator.Method) bool {
	body, ok := m.Body.(*types.RetrievePropertiesEx)
	if !ok {
		return false
	}
	for _, spec := range body.SpecSet {
		for _, object := range spec.ObjectSet {
			if object.Obj.Type == "EventManager" {
				return true
			}
		}
	}
	return false
}
