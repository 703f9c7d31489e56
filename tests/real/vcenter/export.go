package main

import (
	"fmt"
	"log"
	"net"
	"strconv"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// HttpNfcLease is the managed object that clients see. The simulator derives the moref's type from the Go type's name:
// with any other name pyvmomi raises KeyError.
type HttpNfcLease struct {
	mo.HttpNfcLease
	v     *VCenter
	lease *lease
}

func itoa[T int | int32](n T) string { return strconv.Itoa(int(n)) }

// ExportVm opens a lease on a VM that is off.
// API reference: InvalidPowerState if the VM is powered on, InvalidState if it cannot be exported at the moment.
func (o *overrides) ExportVm(ctx *simulator.Context, req *types.ExportVm) soap.HasFault {
	body := new(methods.ExportVmBody)
	m, vm := o.v.machine(req.This), o.v.vm(req.This)
	if rule := o.v.faults.Take(target{vm: m}, func(r *Rule) bool { return r.ExportFault != "" }); rule != nil {
		fault, _ := newFault(rule.ExportFault, req.This)
		body.Fault_ = simulator.Fault(faultText(fault), fault)
		return body
	}
	var power types.VirtualMachinePowerState
	ctx.WithLock(vm, func() { power = vm.Runtime.PowerState })
	if power != types.VirtualMachinePowerStatePoweredOff {
		body.Fault_ = simulator.Fault("", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: power,
		})
		return body
	}
	lease := o.v.newLease(m, ctx.Session.Key)
	if !o.v.leases.add(lease, o.v.inventory.Leases == "one") {
		body.Fault_ = simulator.Fault("", new(types.InvalidState))
		return body
	}
	object := &HttpNfcLease{v: o.v, lease: lease}
	object.State = types.HttpNfcLeaseStateInitializing
	object.Mode = string(types.HttpNfcLeaseModePushOrGet)
	lease.object = object
	lease.task = o.v.newTask(req.This, "VirtualMachine.ExportVmLRO", "ExportVm")
	ref := ctx.Session.Put(object).Reference()
	o.v.leases.mu.Lock()
	lease.id = ref.Value
	o.v.leases.mu.Unlock()
	go o.v.startLease(lease, vm)
	body.Res = &types.ExportVmResponse{Returnval: ref}
	return body
}

// showReady publishes the URLs of a lease.
func (v *VCenter) showReady(l *lease) {
	info := &types.HttpNfcLeaseInfo{
		Lease: l.object.Self, Entity: l.machine.ref, LeaseTimeout: int32(max(1, v.inventory.LeaseTimeoutSeconds)),
	}
	for _, f := range l.files {
		info.DeviceUrl = append(info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key: l.key(f), ImportKey: "/" + l.machine.spec.Name + "/" + f.device, Url: "https://" + v.deviceHost() + diskPrefix + l.ticket + "/" + f.target,
			SslThumbprint: v.disks.identity.thumbprint(), Disk: types.NewBool(f.disk != nil), TargetId: f.target, FileSize: f.fileSize,
		})
		if f.disk != nil {
			info.TotalDiskCapacityInKB += f.disk.Capacity / 1024
		}
	}
	log.Printf("lease on %s is ready: %s", l.machine.path, diskNames(l.files))
	ctx := v.context()
	ctx.WithLock(l.object, func() {
		ctx.Update(l.object, []types.PropertyChange{
			{Name: "initializeProgress", Val: int32(100)},
			{Name: "info", Val: info},
			{Name: "state", Val: types.HttpNfcLeaseStateReady},
		})
	})
}

// deviceHost is the host of the device URLs. A stand-alone host puts "*" there: API reference, HttpNfcLeaseDeviceUrl.url,
// "the client must substitute the "*" with the hostname or IP address used when connecting to the server".
func (v *VCenter) deviceHost() string {
	if !v.inventory.esxi() {
		return v.disks.host
	}
	_, port, _ := net.SplitHostPort(v.disks.host)
	return net.JoinHostPort("*", port)
}

// showError publishes the end of a lease that its client did not end.
func (v *VCenter) showError(l *lease, fault types.BaseMethodFault) {
	log.Printf("lease on %s ends: %s", l.machine.path, faultName(fault))
	ctx := v.context()
	ctx.WithLock(l.object, func() {
		ctx.Update(l.object, []types.PropertyChange{
			{Name: "error", Val: types.LocalizedMethodFault{Fault: fault, LocalizedMessage: faultText(fault)}},
			{Name: "state", Val: types.HttpNfcLeaseStateError},
		})
	})
}

// refused is the fault for a call on a lease that is not in the wanted state, or nil.
// API reference: Timedout "if lease timed out before operation was complete", InvalidState "if the lease is not ready".
func (l *HttpNfcLease) refused(wanted ...types.HttpNfcLeaseState) *soap.Fault {
	state, end := l.v.leases.status(l.lease)
	for _, s := range wanted {
		if s == state {
			return nil
		}
	}
	if end == endExpired {
		return simulator.Fault("", new(types.Timedout))
	}
	return simulator.Fault("", new(types.InvalidState))
}

// HttpNfcLeaseProgress keeps the lease alive.
func (l *HttpNfcLease) HttpNfcLeaseProgress(_ *simulator.Context, req *types.HttpNfcLeaseProgress) soap.HasFault {
	body := new(methods.HttpNfcLeaseProgressBody)
	if body.Fault_ = l.refused(types.HttpNfcLeaseStateReady, types.HttpNfcLeaseStateInitializing); body.Fault_ != nil {
		return body
	}
	if req.Percent < 0 || req.Percent > 100 {
		body.Fault_ = simulator.Fault("", &types.InvalidArgument{InvalidProperty: "percent"})
		return body
	}
	l.v.leases.mu.Lock()
	l.lease.percents = append(l.lease.percents, req.Percent)
	if l.lease.timer != nil && l.lease.end == "" {
		l.lease.timer.Reset(l.v.leaseTimeout())
	}
	l.v.leases.mu.Unlock()
	l.TransferProgress = req.Percent
	l.v.progressTask(l.lease.task, req.Percent)
	body.Res = new(types.HttpNfcLeaseProgressResponse)
	return body
}

// HttpNfcLeaseComplete ends the lease with success.
func (l *HttpNfcLease) HttpNfcLeaseComplete(ctx *simulator.Context, req *types.HttpNfcLeaseComplete) soap.HasFault {
	body := new(methods.HttpNfcLeaseCompleteBody)
	if body.Fault_ = l.refused(types.HttpNfcLeaseStateReady); body.Fault_ != nil {
		return body
	}
	l.v.endLease(l.lease, endCompleted, nil)
	ctx.Session.Remove(ctx, req.This)
	body.Res = new(types.HttpNfcLeaseCompleteResponse)
	return body
}

// HttpNfcLeaseAbort ends the lease without success.
func (l *HttpNfcLease) HttpNfcLeaseAbort(ctx *simulator.Context, req *types.HttpNfcLeaseAbort) soap.HasFault {
	body := new(methods.HttpNfcLeaseAbortBody)
	if body.Fault_ = l.refused(types.HttpNfcLeaseStateReady, types.HttpNfcLeaseStateInitializing); body.Fault_ != nil {
		return body
	}
	var fault types.BaseMethodFault = new(types.RequestCanceled)
	if req.Fault != nil && req.Fault.Fault != nil {
		fault = req.Fault.Fault
	}
	l.v.endLease(l.lease, endAborted, fault)
	ctx.Session.Remove(ctx, req.This)
	body.Res = new(types.HttpNfcLeaseAbortResponse)
	return body
}

// HttpNfcLeaseGetManifest lists what was sent completely.
func (l *HttpNfcLease) HttpNfcLeaseGetManifest(*simulator.Context, *types.HttpNfcLeaseGetManifest) soap.HasFault {
	body := new(methods.HttpNfcLeaseGetManifestBody)
	if body.Fault_ = l.refused(types.HttpNfcLeaseStateReady); body.Fault_ != nil {
		return body
	}
	body.Res = &types.HttpNfcLeaseGetManifestResponse{Returnval: l.v.leases.manifest(l.lease)}
	return body
}

// String keeps the simulator's logs short.
func (l *HttpNfcLease) String() string { return fmt.Sprintf("lease on %s", l.lease.machine.path) }
