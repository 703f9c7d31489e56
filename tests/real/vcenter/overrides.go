package main

import (
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// overrides has the methods that the simulator lacks or implements differently from vSphere. The simulator finds them by
// reflection after redirect has pointed a call here; req.This still names the VM. (Replacing the VM objects by wrappers,
// the documented way, breaks the simulator: it asserts *simulator.VirtualMachine in some thirty places.)
type overrides struct {
	mo.ExtensionManager
	v *VCenter
}

func newOverrides(v *VCenter) *overrides {
	o := &overrides{v: v}
	o.Self = types.ManagedObjectReference{Type: "Overrides", Value: "overrides"}
	return o
}

// Lock and Unlock opt out of the simulator's lock per object: calls for different VMs must not wait for each other.
func (*overrides) Lock()   {}
func (*overrides) Unlock() {}

// overridden are the methods of a VirtualMachine that overrides has.
var overridden = map[string]bool{"ExportVm": true, "ShutdownGuest": true, "QueryChangedDiskAreas": true}

// lockedByLease are methods that a lease blocks. API reference, HttpNfcLease: "While the lease is held, operations that
// alter the state of the virtual machines covered by the lease are blocked. Examples of blocked operations are PowerOn,
// Destroy, Migrate, etc."
var lockedByLease = map[string]bool{
	"PowerOnVM_Task": true, "Destroy_Task": true, "MigrateVM_Task": true, "RelocateVM_Task": true, "ReconfigVM_Task": true,
	"CreateSnapshot_Task": true, "CreateSnapshotEx_Task": true, "RemoveAllSnapshots_Task": true, "UnregisterVM": true,
	"RevertToCurrentSnapshot_Task": true, "CloneVM_Task": true, "MarkAsTemplate": true,
}

// redirect sees every call before the simulator carries it out.
func (v *VCenter) redirect(ctx *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if ctx.Session == nil && needsSession(m) {
		return nil, &types.NotAuthenticated{NoPermission: types.NoPermission{Object: &m.This, PrivilegeId: "System.View"}}
	}
	if ctx.Session == nil {
		return nil, nil
	}
	v.refreshLatestEvent(m)
	if rule := v.faults.Take(target{vm: v.machine(m.This)}, func(r *Rule) bool {
		return r.CallFault != nil && r.CallFault.Method == m.Name
	}); rule != nil {
		fault, _ := newFault(rule.CallFault.Fault, m.This)
		return nil, fault
	}
	if m.This.Type == "AuthorizationManager" && m.Name == "HasPrivilegeOnEntities" {
		m.This = types.ManagedObjectReference{Type: "Overrides", Value: "overrides"}
		return nil, nil
	}
	if m.This.Type != "VirtualMachine" {
		return nil, nil
	}
	vm := v.machine(m.This)
	if vm == nil {
		return nil, nil
	}
	vm.count(m.Name)
	if fault := v.forbidden(m); fault != nil {
		return nil, fault
	}
	if lockedByLease[m.Name] {
		for _, l := range v.leases.live() {
			if l.machine == vm {
				return nil, &types.TaskInProgress{Task: l.task.Self}
			}
		}
	}
	if overridden[m.Name] {
		m.This = types.ManagedObjectReference{Type: "Overrides", Value: "overrides"}
	}
	return nil, nil
}

func (m *machine) count(method string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch method {
	case "PowerOnVM_Task":
		m.powerOns++
	case "PowerOffVM_Task":
		m.powerOffs++
	case "ShutdownGuest":
		m.shutdownsN++
	}
}

// needsSession reports whether a property read is only for logged-in clients. The simulator lets everyone read everything;
// vSphere only what requires the privilege System.Anonymous.
func needsSession(m *simulator.Method) bool {
	var refs []types.ManagedObjectReference
	specs := func(set []types.PropertyFilterSpec) {
		for _, spec := range set {
			for _, object := range spec.ObjectSet {
				refs = append(refs, object.Obj)
			}
		}
	}
	switch body := m.Body.(type) {
	case *types.RetrieveProperties:
		specs(body.SpecSet)
	case *types.RetrievePropertiesEx:
		specs(body.SpecSet)
	default:
		if m.Name != "Fetch" {
			return false
		}
		refs = append(refs, reflect.ValueOf(body).Elem().FieldByName("This").Interface().(types.ManagedObjectReference))
	}
	for _, ref := range refs {
		if ref.Type != "ServiceInstance" && ref.Type != "SessionManager" {
			return true
		}
	}
	return false
}

// QueryChangedDiskAreas answers that everything has changed, which is true but not useful.
func (o *overrides) QueryChangedDiskAreas(ctx *simulator.Context, req *types.QueryChangedDiskAreas) soap.HasFault {
	body := new(methods.QueryChangedDiskAreasBody)
	vm := o.v.vm(req.This)
	var disk *types.VirtualDisk
	ctx.WithLock(vm, func() {
		for _, device := range vm.Config.Hardware.Device {
			if d, ok := device.(*types.VirtualDisk); ok && d.Key == req.DeviceKey {
				disk = d
			}
		}
	})
	if disk == nil || req.StartOffset < 0 || req.StartOffset >= disk.CapacityInBytes {
		body.Fault_ = simulator.Fault("", &types.InvalidArgument{InvalidProperty: "deviceKey"})
		return body
	}
	length := disk.CapacityInBytes - req.StartOffset
	body.Res = &types.QueryChangedDiskAreasResponse{Returnval: types.DiskChangeInfo{
		StartOffset: req.StartOffset, Length: length,
		ChangedArea: []types.DiskChangeExtent{{Start: req.StartOffset, Length: length}},
	}}
	return body
}
