package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	layoutVSphere = "vsphere"
	layoutQEMU    = "qemu"

	// emptyDisk is the capacity of a disk without a source.
	emptyDisk = 1 << 30
	// nvramSize is the size of the file that ESXi keeps for an EFI VM.
	nvramSize = 270840
)

// imageStore makes the served VMDKs, each once.
type imageStore struct {
	dir    string
	layout string
	mu     sync.Mutex // one conversion at a time: test hosts have few cores
}

func newImageStore(dir, layout string) (*imageStore, error) {
	return &imageStore{dir: dir, layout: layout}, os.MkdirAll(dir, 0o755)
}

// measure finds the capacity of a disk and how much of its source is in use.
func (d *Disk) measure() error {
	if d.VMDK != "" {
		if d.Capacity == 0 {
			return fmt.Errorf("a ready-made vmdk needs a capacity")
		}
		d.allocated = sizeOf(d.VMDK)
		_, err := os.Stat(d.VMDK)
		return err
	}
	if d.File == "" {
		or(&d.Capacity, emptyDisk)
		return nil
	}
	size, err := d.virtualSize()
	if err != nil {
		return err
	}
	or(&d.Capacity, size)
	if d.Capacity < size {
		return fmt.Errorf("capacity %d is less than the %d bytes of %s", d.Capacity, size, d.File)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(d.File, &stat); err != nil {
		return err
	}
	d.allocated = min(stat.Blocks*512, d.Capacity)
	return nil
}

func (d *Disk) virtualSize() (int64, error) {
	if d.Format == "raw" {
		info, err := os.Stat(d.File)
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	out, err := qemuImg("info", "-U", "-f", d.Format, "--output=json", d.File)
	if err != nil {
		return 0, err
	}
	var info struct {
		VirtualSize int64 `json:"virtual-size"`
	}
	return info.VirtualSize, json.Unmarshal(out, &info)
}

func sizeOf(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

func qemuImg(args ...string) ([]byte, error) {
	command := exec.Command("qemu-img", args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("qemu-img %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// cacheName identifies the content of a disk: source, its size and time, capacity and layout.
func (s *imageStore) cacheName(d *Disk) (string, error) {
	identity := fmt.Sprintf("%s %d", s.layout, d.Capacity)
	if d.File != "" {
		info, err := os.Stat(d.File)
		if err != nil {
			return "", err
		}
		file, err := filepath.Abs(d.File)
		if err != nil {
			return "", err
		}
		identity += fmt.Sprintf(" %s %s %d %d", file, d.Format, info.Size(), info.ModTime().UnixNano())
	}
	sum := sha256.Sum256([]byte(identity))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16])+".vmdk"), nil
}

// vmdk returns the streamOptimized file of a disk; it is made if it does not exist yet.
func (s *imageStore) vmdk(d *Disk) (string, error) {
	if d.VMDK != "" {
		return d.VMDK, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, err := s.cacheName(d)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	start := time.Now()
	work, err := os.MkdirTemp(s.dir, "work-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	made := filepath.Join(work, "disk.vmdk")
	if err := s.convert(d, work, made); err != nil {
		return "", err
	}
	if err := os.Rename(made, name); err != nil {
		return "", err
	}
	log.Printf("made the VMDK of %q: %d bytes in %.1f s", d.File, sizeOf(name), time.Since(start).Seconds())
	return name, nil
}

// convert writes the disk in the wanted layout to made. work is a scratch directory.
func (s *imageStore) convert(d *Disk, work, made string) error {
	source, format, err := s.source(d, work)
	if err != nil {
		return err
	}
	if s.layout == layoutQEMU {
		_, err := qemuImg("convert", "-U", "-f", format, "-O", "vmdk", "-o", "subformat=streamOptimized", source, made)
		return err
	}
	if format != "raw" {
		raw := filepath.Join(work, "disk.raw")
		if _, err := qemuImg("convert", "-U", "-f", format, "-O", "raw", source, raw); err != nil {
			return err
		}
		source = raw
	}
	return writeStreamVMDK(made, source, d.Capacity)
}

// source is a file with the whole capacity of the disk: the disk's own, or a longer one with a hole at the end.
func (s *imageStore) source(d *Disk, work string) (file, format string, err error) {
	if d.File == "" {
		file = filepath.Join(work, "empty.raw")
		_, err = qemuImg("create", "-f", "raw", file, strconv.FormatInt(d.Capacity, 10))
		return file, "raw", err
	}
	size, err := d.virtualSize()
	if err != nil || size == d.Capacity || d.Format == "raw" && s.layout == layoutVSphere {
		return d.File, d.Format, err
	}
	backing, err := filepath.Abs(d.File)
	if err != nil {
		return "", "", err
	}
	file = filepath.Join(work, "longer.qcow2")
	_, err = qemuImg("create", "-f", "qcow2", "-b", backing, "-F", d.Format, file, strconv.FormatInt(d.Capacity, 10))
	return file, "qcow2", err
}

// nvram returns a file of the size that ESXi keeps for an EFI VM; its content is not used.
func (s *imageStore) nvram() (string, error) {
	name := filepath.Join(s.dir, "nvram")
	if sizeOf(name) == nvramSize {
		return name, nil
	}
	content := bytes.Repeat([]byte("MRVN\x00\x00\x00\x00"), nvramSize/8)
	return name, os.WriteFile(name, content, 0o644)
}
