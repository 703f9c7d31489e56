// Package libnbd stands in for the Go binding of libnbd, which no registry has as a module.
//
// Only virt-launcher imports it, to read backups of a running VM, which a feature gate keeps off. So a handle cannot be
// created here, and every call returns ErrMissing.
package libnbd

import "errors"

// Names and flags of the NBD protocol (doc/proto.md in the NBD project).
const (
	CONTEXT_BASE_ALLOCATION   = "base:allocation"
	CONTEXT_QEMU_DIRTY_BITMAP = "qemu:dirty-bitmap:"

	STATE_HOLE  uint32 = 1
	STATE_ZERO  uint32 = 2
	STATE_DIRTY uint32 = 1
)

// ErrMissing is what every call returns.
var ErrMissing = errors.New("this virt-launcher was built without libnbd, so it cannot read backups")

// LibnbdExtent is a run of bytes with the same flags.
type LibnbdExtent struct {
	Length uint64
	Flags  uint64
}

// ExtentCallback receives the extents of a part of the export.
type ExtentCallback func(metacontext string, offset uint64, entries []LibnbdExtent, err *int) int

// Libnbd is a handle; there are none.
type Libnbd struct{}

func Create() (*Libnbd, error) { return nil, ErrMissing }

func (*Libnbd) Close() error                        { return ErrMissing }
func (*Libnbd) AddMetaContext(string) error         { return ErrMissing }
func (*Libnbd) CanMetaContext(string) (bool, error) { return false, ErrMissing }
func (*Libnbd) SetExportName(string) error          { return ErrMissing }
func (*Libnbd) ConnectUnix(string) error            { return ErrMissing }
func (*Libnbd) GetSize() (uint64, error)            { return 0, ErrMissing }

func (*Libnbd) Pread([]byte, uint64, *struct{}) error { return ErrMissing }

func (*Libnbd) BlockStatus64(uint64, uint64, ExtentCallback, *struct{}) error { return ErrMissing }
