package main

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// validLogin tells the simulator whether a login is right.
func (v *VCenter) validLogin(req *types.Login) bool {
	if v.faults.Take(target{}, func(r *Rule) bool { return r.LoginFault > 0 }) != nil {
		return false
	}
	return req.UserName == v.inventory.Username && req.Password == v.inventory.Password
}

// sessions returns the live sessions, oldest first.
func (v *VCenter) sessions() []types.UserSession {
	// Get makes a copy of the manager with the current list.
	manager := v.service.Context.Session.Get(*v.client.ServiceContent.SessionManager).(*simulator.SessionManager)
	list := slices.Clone(manager.SessionList)
	slices.SortFunc(list, func(a, b types.UserSession) int { return a.LoginTime.Compare(b.LoginTime) })
	return list
}

// live reports whether key is that of a live session.
func (v *VCenter) live(key string) bool {
	return slices.ContainsFunc(v.sessions(), func(s types.UserSession) bool { return s.Key == key })
}

// expireSessions ends every session, as a restart of vCenter does.
func (v *VCenter) expireSessions() {
	for _, session := range v.sessions() {
		v.registry().SessionManager().TerminateSession(v.context(), &types.TerminateSession{SessionId: []string{session.Key}})
	}
	v.endOrphans()
}

// endOrphans ends the leases whose session has ended.
func (v *VCenter) endOrphans() {
	for _, l := range v.leases.live() {
		if !v.live(l.session) {
			v.endLease(l, endSession, new(types.RequestCanceled))
		}
	}
}
