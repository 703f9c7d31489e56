package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// volumes are sparse files under a folder: NAME.img, given out as a loop device (Block) or as an ext4 of exactly that
// size mounted on NAME (Filesystem). So a full volume is full. Every call may be repeated after a crash.
type volumes string

func (v volumes) file(name string) string  { return filepath.Join(string(v), name+".img") }
func (v volumes) mount(name string) string { return filepath.Join(string(v), name) }

// create makes a volume whose bytes begin as those of the file `from`, where one is named.
func (v volumes) create(name string, size int64, block bool, from string) (path string, err error) {
	if err := os.MkdirAll(string(v), 0o700); err != nil {
		return "", err
	}
	if err := v.fill(name, size, block, from); err != nil {
		return "", err
	}
	if block {
		return v.attach(name)
	}
	if err := os.MkdirAll(v.mount(name), 0o755); err != nil {
		return "", err
	}
	if mounted(v.mount(name)) {
		return v.mount(name), nil
	}
	_, err = run("mount", "-t", "ext4", "-o", "loop,discard", v.file(name), v.mount(name))
	return v.mount(name), err
}

// fill writes NAME.img whole or not at all.
func (v volumes) fill(name string, size int64, block bool, from string) error {
	if _, err := os.Stat(v.file(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partial := v.file(name) + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if from != "" {
		if _, err := run("cp", "--sparse=always", "--reflink=auto", "--", from, partial); err != nil {
			return err
		}
		if info, err := os.Stat(partial); err != nil || info.Size() > size {
			return errors.Join(err, fmt.Errorf("%d bytes asked for, %s needs more", size, filepath.Base(from)))
		}
	}
	if _, err := run("truncate", "--size", fmt.Sprint(size), partial); err != nil {
		return err
	}
	if !block && from == "" {
		// No reserve for root: pods run as other users. The rest is as a storage driver makes it, lost+found included.
		if _, err := run("mkfs.ext4", "-q", "-F", "-m", "0", partial); err != nil {
			return err
		}
	}
	return os.Rename(partial, v.file(name))
}

func (v volumes) attach(name string) (device string, err error) {
	if devices, err := v.devices(name); err != nil || len(devices) > 0 {
		return strings.Join(devices, ""), err
	}
	return run("losetup", "--find", "--show", v.file(name))
}

func (v volumes) devices(name string) ([]string, error) {
	out, err := run("losetup", "--noheadings", "--output", "NAME", "--associated", v.file(name))
	return strings.Fields(out), err
}

func (v volumes) remove(name string) error {
	if _, err := os.Stat(v.file(name)); err == nil {
		if mounted(v.mount(name)) {
			if _, err := run("umount", v.mount(name)); err != nil {
				return err
			}
		}
		devices, err := v.devices(name)
		if err != nil {
			return err
		}
		for _, device := range devices {
			if _, err := run("losetup", "--detach", device); err != nil {
				return err
			}
		}
		// One in use stays until its user lets go. The file stays as long: by it `down` knows the device as ours.
		if devices, err = v.devices(name); err != nil || len(devices) > 0 {
			return errors.Join(err, fmt.Errorf("in use: %s", strings.Join(devices, " ")))
		}
	}
	return errors.Join(os.RemoveAll(v.mount(name)), os.RemoveAll(v.file(name)))
}

func mounted(path string) bool { return exec.Command("mountpoint", "--quiet", path).Run() == nil }

// run gives back what a command wrote, trimmed; its last words stand in the error.
func run(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, text)
	}
	return text, nil
}
