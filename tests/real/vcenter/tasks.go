package main

import (
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// newTask puts a running task into the task list. The simulator's own tasks hold their entity's lock until they end,
// which a task as long as a lease must not do.
func (v *VCenter) newTask(entity types.ManagedObjectReference, id, name string) *simulator.Task {
	now := time.Now()
	task := &simulator.Task{}
	task.Info.Name = name
	task.Info.DescriptionId = id
	task.Info.Entity = &entity
	task.Info.QueueTime = now
	task.Info.StartTime = &now
	task.Info.State = types.TaskInfoStateRunning
	task.Info.Reason = &types.TaskReasonUser{UserName: v.inventory.Username}
	// The key is known only after the registry has assigned it; clients learn of the task after that.
	v.registry().Put(task)
	ctx := v.context()
	v.registry().AtomicUpdate(ctx, task, []types.PropertyChange{
		{Name: "info.key", Val: task.Self.Value},
		{Name: "info.task", Val: task.Self},
	})
	return task
}

// postEvent puts an event into the event list in the name of the caller's session.
func (v *VCenter) postEvent(ctx *simulator.Context, event types.BaseEvent) {
	events := v.registry().EventManager()
	ctx.WithLock(events, func() { events.PostEvent(ctx, &types.PostEvent{This: events.Self, EventToPost: event}) })
}

func (v *VCenter) progressTask(task *simulator.Task, percent int32) {
	v.registry().AtomicUpdate(v.context(), task, []types.PropertyChange{{Name: "info.progress", Val: percent}})
}

// finishTask ends a task with success or with a fault.
func (v *VCenter) finishTask(task *simulator.Task, fault types.BaseMethodFault) {
	changes := []types.PropertyChange{{Name: "info.completeTime", Val: time.Now()}}
	if fault == nil {
		changes = append(changes, types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
	} else {
		changes = append(changes,
			types.PropertyChange{Name: "info.error", Val: types.LocalizedMethodFault{Fault: fault, LocalizedMessage: faultText(fault)}},
			types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
	}
	v.registry().AtomicUpdate(v.context(), task, changes)
}
