package main

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// The constants of a stream-optimized VMDK. Source: VMware, "Virtual Disk Format 5.0", sections "Hosted Sparse Extents"
// and "Stream-Optimized Compressed Sparse Extents".
const (
	sectorSize     = 512
	grainSectors   = 128
	grainBytes     = grainSectors * sectorSize
	tableEntries   = 512 // grains per grain table
	tableSectors   = tableEntries * 4 / sectorSize
	overheadSector = grainSectors // the first grain starts here

	vmdkMagic      = 0x564d444b // "KDMV"
	vmdkVersion    = 3
	flagNewLine    = 1 << 0
	flagCompressed = 1 << 16
	flagMarkers    = 1 << 17
	deflate        = 1
	gdAtEnd        = ^uint64(0)

	markerEOS       = 0
	markerTable     = 1
	markerDirectory = 2
	markerFooter    = 3
)

// sparseHeader is SparseExtentHeader, little endian, 512 bytes.
type sparseHeader struct {
	Magic, Version, Flags            uint32
	Capacity, GrainSize              uint64
	DescriptorOffset, DescriptorSize uint64
	NumGTEsPerGT                     uint32
	RGDOffset, GDOffset, Overhead    uint64
	UncleanShutdown                  uint8
	SingleEndLine, NonEndLine        byte
	DoubleEndLine1, DoubleEndLine2   byte
	Compression                      uint16
	Pad                              [433]byte
}

// streamWriter writes a VMDK in one pass, as a host sends it: grain tables follow their grains, the grain directory and
// a footer with its place come last. (qemu-img writes the tables in front, because it can seek.)
type streamWriter struct {
	out       *bufio.Writer
	sector    uint64 // next sector to write
	capacity  uint64 // sectors
	table     [tableEntries]uint32
	tableUsed bool
	directory []uint32
	deflated  bytes.Buffer
	deflater  *zlib.Writer
}

// writeStreamVMDK converts the raw file source; beyond its end the disk is empty.
func writeStreamVMDK(name, source string, capacity int64) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer out.Close()
	w := &streamWriter{out: bufio.NewWriterSize(out, 1<<20), capacity: uint64(capacity+sectorSize-1) / sectorSize}
	// A host is as fast as possible: level 1.
	w.deflater, _ = zlib.NewWriterLevel(&w.deflated, zlib.BestSpeed)
	if err := w.writeAll(in); err != nil {
		return err
	}
	return errors.Join(w.out.Flush(), out.Close())
}

func (w *streamWriter) writeAll(in *os.File) error {
	if err := w.writeHead(); err != nil {
		return err
	}
	grains := (w.capacity + grainSectors - 1) / grainSectors
	buffer := make([]byte, grainBytes)
	for grain := uint64(0); grain < grains; grain++ {
		next, err := nextData(in, int64(grain*grainBytes))
		if err != nil {
			return err
		}
		// Skip the grains of a hole, but not the ends of tables.
		if hole := min(uint64(next)/grainBytes, grains, (grain/tableEntries+1)*tableEntries); next < 0 || hole > grain {
			if next < 0 {
				hole = min(grains, (grain/tableEntries+1)*tableEntries)
			}
			grain = hole - 1
		} else if err := w.copyGrain(in, grain, buffer); err != nil {
			return err
		}
		if (grain+1)%tableEntries == 0 || grain+1 == grains {
			if err := w.writeTable(); err != nil {
				return err
			}
		}
	}
	return w.writeTail()
}

// nextData is the offset of the next data in a sparse file, -1 if there is none.
func nextData(f *os.File, off int64) (int64, error) {
	const seekData = 3
	at, err := syscall.Seek(int(f.Fd()), off, seekData)
	if errors.Is(err, syscall.ENXIO) {
		return -1, nil
	}
	if errors.Is(err, syscall.EINVAL) { // a file system without holes
		return off, nil
	}
	return at, err
}

func (w *streamWriter) copyGrain(in *os.File, grain uint64, buffer []byte) error {
	n, err := in.ReadAt(buffer, int64(grain*grainBytes))
	if err != nil && err != io.EOF {
		return err
	}
	clear(buffer[n:])
	length := min(grainSectors, w.capacity-grain*grainSectors) * sectorSize
	if len(bytes.Trim(buffer[:n], "\x00")) == 0 {
		return nil // grains of zeros are left out
	}
	return w.writeGrain(grain, buffer[:length])
}

// writeGrain writes a grain marker: LBA, length, deflated data, padding to a sector.
func (w *streamWriter) writeGrain(grain uint64, data []byte) error {
	w.deflated.Reset()
	w.deflater.Reset(&w.deflated)
	if _, err := w.deflater.Write(data); err != nil {
		return err
	}
	if err := w.deflater.Close(); err != nil {
		return err
	}
	w.table[grain%tableEntries] = uint32(w.sector)
	w.tableUsed = true
	var head [12]byte
	binary.LittleEndian.PutUint64(head[:], grain*grainSectors)
	binary.LittleEndian.PutUint32(head[8:], uint32(w.deflated.Len()))
	return w.write(head[:], w.deflated.Bytes())
}

// write writes the parts and pads them to whole sectors.
func (w *streamWriter) write(parts ...[]byte) error {
	n := 0
	for _, part := range parts {
		if _, err := w.out.Write(part); err != nil {
			return err
		}
		n += len(part)
	}
	padding := (sectorSize - n%sectorSize) % sectorSize
	if _, err := w.out.Write(make([]byte, padding)); err != nil {
		return err
	}
	w.sector += uint64((n + padding) / sectorSize)
	return nil
}

// writeMarker announces metadata of this number of sectors.
func (w *streamWriter) writeMarker(kind uint32, sectors uint64) error {
	var marker [sectorSize]byte
	binary.LittleEndian.PutUint64(marker[:], sectors)
	binary.LittleEndian.PutUint32(marker[12:], kind)
	return w.write(marker[:])
}

func (w *streamWriter) writeTable() error {
	if !w.tableUsed {
		w.directory = append(w.directory, 0)
		return nil
	}
	if err := w.writeMarker(markerTable, tableSectors); err != nil {
		return err
	}
	w.directory = append(w.directory, uint32(w.sector))
	var raw [tableEntries * 4]byte
	for i, entry := range w.table {
		binary.LittleEndian.PutUint32(raw[4*i:], entry)
	}
	clear(w.table[:])
	w.tableUsed = false
	return w.write(raw[:])
}

func (w *streamWriter) header(directory uint64) []byte {
	var raw bytes.Buffer
	_ = binary.Write(&raw, binary.LittleEndian, &sparseHeader{
		Magic: vmdkMagic, Version: vmdkVersion, Flags: flagNewLine | flagCompressed | flagMarkers,
		Capacity: w.capacity, GrainSize: grainSectors, DescriptorOffset: 1, DescriptorSize: 20,
		NumGTEsPerGT: tableEntries, GDOffset: directory, Overhead: overheadSector,
		SingleEndLine: '\n', NonEndLine: ' ', DoubleEndLine1: '\r', DoubleEndLine2: '\n', Compression: deflate,
	})
	return raw.Bytes()
}

// writeHead writes header and descriptor, padded to the first grain.
func (w *streamWriter) writeHead() error {
	const heads, sectorsPerTrack = 255, 63
	descriptor := fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RDONLY %d SPARSE "generated-stream.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.virtualHWVersion = "21"
`, uint32(0x7f3a11c5), w.capacity, w.capacity/(heads*sectorsPerTrack), heads, sectorsPerTrack)
	head := append(w.header(gdAtEnd), descriptor...)
	return w.write(head, make([]byte, overheadSector*sectorSize-len(head)))
}

// writeTail writes grain directory, footer and end-of-stream marker.
func (w *streamWriter) writeTail() error {
	var raw bytes.Buffer
	_ = binary.Write(&raw, binary.LittleEndian, w.directory)
	if err := w.writeMarker(markerDirectory, uint64((raw.Len()+sectorSize-1)/sectorSize)); err != nil {
		return err
	}
	directory := w.sector
	if err := w.write(raw.Bytes()); err != nil {
		return err
	}
	if err := w.writeMarker(markerFooter, 1); err != nil {
		return err
	}
	if err := w.write(w.header(directory)); err != nil {
		return err
	}
	return w.writeMarker(markerEOS, 0)
}
