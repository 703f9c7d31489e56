#!/usr/bin/env bash
# Build the guest disk: build.sh OUTDIR -> OUTDIR/guest.img and OUTDIR/guest.json.
# Nothing happens when OUTDIR holds a guest of the same inputs. No loop devices:
# the file systems are written into the image file directly.
set -euo pipefail

readonly SUITE=bookworm
readonly IMAGE_MIB=2048
# Partitions, in MiB: BIOS-boot, ESP, root up to the end (less the backup GPT).
readonly BIOS_START=1 BIOS_SIZE=1 ESP_START=2 ESP_SIZE=40 ROOT_START=42
readonly ROOT_SIZE=$((IMAGE_MIB - ROOT_START - 1))
readonly ROOT_UUID=7a6d6665-7272-4779-8775-657374000001

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

die() {
	echo "guest: $*" >&2
	exit 1
}

# step NAME FUNCTION: run, say how long it took, show the log if it failed.
step() {
	local begin=${EPOCHREALTIME/./} status=0
	# Not "if step…": set -e would be off inside the function.
	set +e
	(set -e; "$2") >"$tmp/log" 2>&1
	status=$?
	set -e
	if ((status != 0)); then
		tail -n 40 "$tmp/log" >&2
		die "$1 failed"
	fi
	local ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
	printf 'guest: %-38s %3d.%d s\n' "$1" $((ms / 1000)) $((ms % 1000 / 100))
}

check_packages() {
	local missing
	missing=$(while read -r package; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
			printf ' %s' "$package"
	done <"$here/packages.txt")
	[[ -z $missing ]] || die "Debian packages missing:$missing"
}

inputs() {
	(cd "$here" && sha256sum build.sh grub_bios.py modules.txt files/* && echo "$SUITE") |
		sha256sum | cut -d ' ' -f 1
}

modules() { sed -e 's/#.*//' -e '/^ *$/d' "$here/modules.txt"; }

# The machine's own mirror, as "deb …" lines; nothing if it is no Debian of this
# suite, then mmdebstrap takes its default.
sources() {
	# shellcheck disable=SC2016  # apt-get's own variables
	apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' | grep -E " $SUITE(-updates|-security)? main\$" | sort -u || true
}

debian() {
	local lines options=(--quiet --mode=root --variant=essential
		"--include=linux-image-amd64,busybox-static,mount"
		--dpkgopt=force-unsafe-io)
	local path module
	for path in '/lib/modules/*/kernel/*' '/usr/share/doc/*' '/usr/share/man/*' \
		'/usr/share/locale/*' '/usr/share/info/*' '/usr/share/i18n/*' \
		'/usr/lib/x86_64-linux-gnu/gconv/*' '/usr/share/perl/*/pod/*'; do
		options+=(--dpkgopt="path-exclude=$path")
	done
	for module in $(modules); do
		options+=(--dpkgopt="path-include=/lib/modules/*/$module.ko")
	done
	# The boot loader is only unpacked, later: installing it would want a disk.
	# shellcheck disable=SC2016  # expanded by the hook's shell
	options+=(--essential-hook='cd "$GUEST_DEBS" &&
		APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq download shim-signed grub-efi-amd64-signed')
	mapfile -t lines < <(sources)
	# INITRD=No: Debian's kernel package then does not make its (slow) initramfs.
	mkdir "$tmp/debs"
	INITRD=No GUEST_DEBS=$tmp/debs mmdebstrap "${options[@]}" "$SUITE" "$tmp/root" "${lines[@]}"
	local deb
	for deb in "$tmp"/debs/*.deb; do dpkg-deb -x "$deb" "$tmp/loader"; done
}

kernel() { basename "$tmp"/root/lib/modules/*; }

# Every module of the list exists, and so does everything it depends on.
check_modules() {
	local kernel module dep
	kernel=$(kernel)
	for module in $(modules); do
		for dep in "$module" $(chroot "$tmp/root" modinfo -k "$kernel" -F depends "$module" | tr , ' '); do
			chroot "$tmp/root" modinfo -k "$kernel" -n "$dep" >/dev/null ||
				die "modules.txt: $module needs $dep, which is not there"
		done
	done
}

initramfs() {
	local root=$tmp/root tree=$tmp/root/tmp/initramfs kernel
	kernel=$(kernel)
	check_modules
	mkdir -p "$tree"/{bin,dev,proc,sys,newroot,lib/modules}
	cp "$root/bin/busybox" "$tree/bin/"
	cp -r "$root/lib/modules/$kernel" "$tree/lib/modules/"
	install -m 755 "$here/files/initramfs-init" "$tree/init"
	chroot "$root" sh -c 'cd /tmp/initramfs && find . | cpio --quiet -o -H newc | gzip' \
		>"$root/boot/initrd.img-$kernel"
	rm -rf "$tree"
}

configure() {
	local root=$tmp/root
	rm -rf "$root"/var/cache/* "$root"/var/log/* "$root"/etc/apt/apt.conf.d/99mmdebstrap \
		"$root"/etc/apt/sources.list{,.d/*} "$root"/tmp/*
	echo guest >"$root/etc/hostname"
	echo "UUID=$ROOT_UUID / ext4 ro 0 1" >"$root/etc/fstab"
	install -m 755 "$here/files/init" "$root/sbin/init"
	install -m 755 -D "$here/files/tree-sha256" "$root/usr/local/sbin/tree-sha256"
	mkdir -p "$root/boot/grub"
	sed -e "s/@ROOT_UUID@/$ROOT_UUID/g" -e "s/@KERNEL@/$(kernel)/g" \
		"$here/files/grub.cfg" >"$root/boot/grub/grub.cfg"
}

partition() {
	truncate -s ${IMAGE_MIB}M "$tmp/guest.img"
	sfdisk --quiet "$tmp/guest.img" <<-EOF
		label: gpt
		start=${BIOS_START}MiB, size=${BIOS_SIZE}MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios-boot
		start=${ESP_START}MiB, size=${ESP_SIZE}MiB, type=U, name=esp
		start=${ROOT_START}MiB, size=${ROOT_SIZE}MiB, type=L, name=root
	EOF
}

root_fs() {
	# The features are named one by one: GRUB 2.06 does not read some of those
	# that newer e2fsprogs switch on.
	mke2fs -q -F -t ext4 -d "$tmp/root" -U $ROOT_UUID -L guest-root -b 4096 -m 0 -J size=8 \
		-O none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
		-E offset=$((ROOT_START << 20)),lazy_itable_init=1,lazy_journal_init=1,nodiscard \
		"$tmp/guest.img" ${ROOT_SIZE}M
}

esp() {
	local at=$tmp/guest.img@@${ESP_START}M loader=$tmp/loader/usr/lib
	# What the signed GRUB reads first; its prefix /EFI/debian is compiled in.
	cat >"$tmp/esp.cfg" <<-EOF
		search --no-floppy --fs-uuid --set=root $ROOT_UUID
		set prefix=(\$root)/boot/grub
		configfile \$prefix/grub.cfg
	EOF
	mformat -i "$at" -F -T $((ESP_SIZE * 2048)) -h 64 -s 32 -c 1 -v ESP ::
	mmd -i "$at" ::/EFI ::/EFI/BOOT ::/EFI/debian
	# The removable path: found by firmware that has no boot entries at all.
	mcopy -i "$at" "$loader/shim/shimx64.efi.signed" ::/EFI/BOOT/BOOTX64.EFI
	mcopy -i "$at" "$loader/grub/x86_64-efi-signed/grubx64.efi.signed" ::/EFI/BOOT/grubx64.efi
	mcopy -i "$at" "$tmp/esp.cfg" ::/EFI/debian/grub.cfg
	mcopy -i "$at" "$tmp/esp.cfg" ::/EFI/BOOT/grub.cfg
}

bios() {
	# (,gpt3) is partition 3 of the drive the BIOS booted from, whichever it is.
	grub-mkimage -O i386-pc -o "$tmp/core.img" -p '(,gpt3)/boot/grub' \
		biosdisk part_gpt ext2 search search_fs_uuid normal configfile linux serial terminal echo test
	python3 -I "$here/grub_bios.py" "$tmp/guest.img" /usr/lib/grub/i386-pc/boot.img "$tmp/core.img" \
		$((BIOS_START * 2048)) $((BIOS_SIZE * 2048))
}

image() {
	partition
	root_fs
	esp
	bios
}

facts() {
	printf '{"release": "%s", "kernel": "%s", "root_sha256": "%s", "size": %d}\n' \
		"$(cat "$tmp/root/etc/debian_version")" "$(kernel)" \
		"$("$here/files/tree-sha256" "$tmp/root")" $((IMAGE_MIB << 20)) >"$tmp/guest.json"
}

build() {
	SECONDS=0
	rm -rf --one-file-system "$tmp"
	mkdir -p "$tmp"
	trap 'rm -rf --one-file-system "$tmp"' EXIT
	trap 'exit 1' INT TERM HUP
	step "debian $SUITE and kernel" debian
	step "initramfs" initramfs
	step "configuration" configure
	step "checksum" facts
	step "partitions, file systems, boot loaders" image
	# The key last: without it the image counts as not built.
	rm -f "$out/guest.key"
	mv "$tmp/guest.img" "$tmp/guest.json" "$out/"
	echo "$key" >"$out/guest.key"
	echo "guest: built in $SECONDS s, $(du -m "$out/guest.img" | cut -f 1) MiB allocated"
}

[[ $# -eq 1 ]] || die "usage: build.sh OUTDIR"
mkdir -p "$1"
out=$(cd "$1" && pwd)
tmp=$out/tmp
key=$(inputs)

# One build at a time. Children keep the lock: what a killed build left running
# ends before the next one starts.
exec 9>"$out/guest.lock"
flock 9
if [[ -f $out/guest.img && -f $out/guest.json && $(cat "$out/guest.key" 2>/dev/null) == "$key" ]]; then
	echo "guest: up to date"
	exit 0
fi
((EUID == 0)) || die "must be root to build"
check_packages
# In a mount namespace of its own the build can leave no mounts behind,
# not even when it is killed.
if [[ -z ${GUEST_NAMESPACE:-} ]]; then
	exec 9>&-
	GUEST_NAMESPACE=1 exec unshare --mount --propagation private bash "${BASH_SOURCE[0]}" "$out"
fi
build
