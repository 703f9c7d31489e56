package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Gate holds calls and streams until a test releases them.
type Gate struct {
	mu      sync.Mutex
	next    int
	held    []*Held
	arrived chan struct{} // closed and replaced whenever something is held
}

// Held is one call or stream that waits.
type Held struct {
	ID      int    `json:"id"`
	Kind    string `json:"kind"`
	Method  string `json:"method,omitempty"`
	When    string `json:"when,omitempty"`
	This    string `json:"this,omitempty"`
	VM      string `json:"vm,omitempty"`
	Disk    string `json:"disk,omitempty"`
	At      int64  `json:"at"`
	Session string `json:"session"`

	release chan struct{}
}

func newGate() *Gate { return &Gate{arrived: make(chan struct{})} }

// Wait holds the caller until it is released (nil) or ctx ends (its cause).
func (g *Gate) Wait(ctx context.Context, h Held) error {
	h.release = make(chan struct{})
	g.mu.Lock()
	g.next++
	h.ID = g.next
	g.held = append(g.held, &h)
	close(g.arrived)
	g.arrived = make(chan struct{})
	g.mu.Unlock()

	select {
	case <-h.release:
		return nil
	case <-ctx.Done():
		g.remove(h.ID)
		return context.Cause(ctx)
	}
}

func (g *Gate) remove(id int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = slices.DeleteFunc(g.held, func(h *Held) bool { return h.ID == id })
}

// List returns what is held, waiting up to patience for the first.
func (g *Gate) List(ctx context.Context, patience time.Duration) []Held {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		g.mu.Lock()
		list := make([]Held, 0, len(g.held))
		for _, h := range g.held {
			list = append(list, *h)
		}
		arrived := g.arrived
		g.mu.Unlock()
		if len(list) > 0 {
			return list
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return list
		}
	}
}

// Release releases one (or, with id 0, all) and returns how many it released.
func (g *Gate) Release(id int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	released := 0
	g.held = slices.DeleteFunc(g.held, func(h *Held) bool {
		if id != 0 && h.ID != id {
			return false
		}
		close(h.release)
		released++
		return true
	})
	return released
}
