package main

import (
	"fmt"
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// required are the privileges that calls need on their VM. API reference, VirtualMachine: "Required privileges" of each.
var required = map[string]string{
	"ExportVm":        "VApp.Export",
	"PowerOffVM_Task": "VirtualMachine.Interact.PowerOff",
	"PowerOnVM_Task":  "VirtualMachine.Interact.PowerOn",
	"Rename_Task":     "VirtualMachine.Config.Rename",
	"ShutdownGuest":   "VirtualMachine.Interact.PowerOff",
}

// asked are further privileges for HasPrivilegeOnEntities. ReconfigVM_Task needs them for what it changes, so no call
// is refused for them here.
var asked = []string{"VirtualMachine.Config.EditDevice"}

// checkPrivileges returns an error unless the calls of this stand-in need each of these.
func checkPrivileges(ids []string) error {
	for _, id := range ids {
		known := slices.Contains(asked, id)
		for _, needed := range required {
			known = known || needed == id
		}
		if !known {
			return fmt.Errorf("lacks: no call here needs the privilege %q", id)
		}
	}
	return nil
}

// setLacks changes the privileges that the account lacks.
func (v *VCenter) setLacks(ids []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lacks = slices.Clone(ids)
}

// holds reports whether the account has a privilege, which always applies to everything or to nothing.
func (v *VCenter) holds(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !slices.Contains(v.lacks, id)
}

// forbidden is the fault for a call on a VM without the required privilege, or nil.
func (v *VCenter) forbidden(m *simulator.Method) types.BaseMethodFault {
	id, ok := required[m.Name]
	if !ok || v.holds(id) {
		return nil
	}
	return &types.NoPermission{Object: &m.This, PrivilegeId: id}
}

// HasPrivilegeOnEntities answers according to what the account lacks; the simulator's own answers always yes.
// API reference: "If the session does not exist, false is returned for all privileges of all the entities."
func (o *overrides) HasPrivilegeOnEntities(ctx *simulator.Context, req *types.HasPrivilegeOnEntities) soap.HasFault {
	alive := slices.ContainsFunc(o.v.sessions(), func(s types.UserSession) bool { return s.Key == req.SessionId })
	body := &methods.HasPrivilegeOnEntitiesBody{Res: new(types.HasPrivilegeOnEntitiesResponse)}
	for _, entity := range req.Entity {
		found := types.EntityPrivilege{Entity: entity}
		for _, id := range req.PrivId {
			granted := alive && o.v.holds(id)
			found.PrivAvailability = append(found.PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: granted})
		}
		body.Res.Returnval = append(body.Res.Returnval, found)
	}
	return body
}
