#!/usr/bin/env bash
# run.sh WRITER FOLDER: cuts the power of a guest that writes to the disk tier, and checks what is
# left; README.md says how. COUNT images (5 by default), from SEED (by default the time). FOLDER
# keeps the guest's kernel from one call to the next, and the files of a run that failed.
set -euo pipefail
here="$(dirname "$(readlink -f "$0")")"
writer="$(readlink -f "${1:?usage: run.sh WRITER FOLDER}")"
folder="${2:?usage: run.sh WRITER FOLDER}"
count="${COUNT:-5}"
seed="${SEED:-$(date +%s)}"

boot_s_max=180
write_s_min=8   # the first records count as durable after three seconds
write_s_max=16
guest_s_max=300
tool_s_max=120
attempts_max=3  # for a log that the cut itself made unusable
disk_bytes=256M
log_cut_short=4         # exit code of replay.py
only_durable_missing=3  # exit code of the writer's check

mkdir -p "$folder"
folder="$(readlink -f "$folder")"
work="$(mktemp -d "$folder/run.XXXXXX")"
failed=
guest=

stop_guest() {
  [ -n "$guest" ] || return 0
  # The process `timeout` ends with QEMU and hands a mild signal on to it.
  if kill -0 "$guest" 2>/dev/null; then
    kill -KILL "$(cat "$work/pid")" 2>/dev/null || kill "$guest" || true
  fi
  wait "$guest" 2>/dev/null || true
  guest=
}
cleanup() {
  stop_guest
  [ -n "$failed" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() {
  failed=1
  echo "FAILED: $*; what there is to see is in $work" >&2
  exit 1
}
limited() { timeout --signal=KILL "$tool_s_max" "$@"; }

# The kernel that Debian ships, unpacked and not installed.
prepare_kernel() {
  kernel="$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: linux-image-//p' | head -1)"
  [ -n "$kernel" ] || fail "apt knows no package linux-image-amd64"
  kernel_root="$folder/$kernel"
  [ ! -d "$kernel_root" ] || return 0
  mkdir "$work/deb"
  (cd "$work/deb" && apt-get download -q "linux-image-$kernel") || fail "downloading the kernel"
  dpkg-deb --extract "$work"/deb/*.deb "$work/kernel"
  depmod --basedir "$work/kernel" "$kernel"
  mv "$work/kernel" "$kernel_root"
  rm -r "$work/deb"
}

# An initial file system of busybox, the modules, and the writer with its libraries.
prepare_guest() {
  local root="$work/root" name path
  mkdir -p "$root"/{bin,dev,disk,proc,modules.d}
  cp /bin/busybox "$root/bin/"
  install -m 755 "$here/init" "$root/init"
  for name in virtio_pci virtio_console virtio_blk ext4 crc32c_generic; do
    modprobe --dirname "$kernel_root" --set-version "$kernel" --show-depends "$name" |
      sed -n 's/^insmod \([^ ]*\).*/\1/p'
  done | awk '!seen[$0]++' | while read -r path; do
    cp "$path" "$root/modules.d/"
    echo "/modules.d/$(basename "$path")" >>"$root/modules"
  done
  cp "$writer" "$root/powercut_writer"
  # libgcc_s is loaded when a thread ends, which ldd cannot know.
  { ldd "$writer" | grep -o '/[^ ]*'
    ldconfig -p | sed -n 's/.*libgcc_s\.so\.1 .*x86-64.*=> //p'; } | sort -u | while read -r path; do
    install -D "$path" "$root$path"
  done
  (cd "$root" && find . | cpio --create --format=newc --quiet --owner=0:0) >"$work/initrd"
  rm -r "$root"
}

make_disk() {
  truncate --size=0 "$work/disk" "$work/log" "$work/journal"
  truncate --size="$disk_bytes" "$work/disk"
  limited mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$work/disk"
  cp --sparse=always "$work/disk" "$work/disk_before"
}

# The log notes flushes; the host's files need none, because the host keeps its power. No NVMe
# device: QEMU's takes forced writes (FUA) for plain ones, and the log then permits too much.
start_guest() {
  local sync="$1"
  local file="driver=file,cache.no-flush=on"
  rm -f "$work/pid"
  timeout --signal=KILL "$guest_s_max" qemu-system-x86_64 -accel tcg,thread=multi -machine pc \
    -cpu max -smp 2 -m 512M -display none -nodefaults -no-user-config -no-reboot -nic none \
    -pidfile "$work/pid" -kernel "$kernel_root/boot/vmlinuz-$kernel" -initrd "$work/initrd" \
    -append "console=ttyS0 panic=-1 quiet mitigations=off DISK=vda SEED=$seed SYNC=$sync" \
    -serial "file:$work/console" -device virtio-serial-pci,ioeventfd=off \
    -chardev "file,id=journal,path=$work/journal" -device virtserialport,chardev=journal,nr=1 \
    -blockdev "$file,node-name=disk,filename=$work/disk" \
    -blockdev "$file,node-name=log,filename=$work/log" \
    -blockdev driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512 \
    -device virtio-blk-pci,drive=logged </dev/null &
  guest=$!
}

wait_for_writer() {
  local second
  for ((second = 0; second < boot_s_max; ++second)); do
    [ ! -s "$work/journal" ] || return 0
    kill -0 "$guest" 2>/dev/null || break
    sleep 1
  done
  fail "the writer did not start in the guest"
}

# cut_power SYNC: leaves disk_before, log and journal.
cut_power() {
  local milliseconds
  make_disk
  start_guest "$1"
  wait_for_writer
  milliseconds=$((write_s_min * 1000 + RANDOM % ((write_s_max - write_s_min) * 1000)))
  sleep "$((milliseconds / 1000)).$(printf %03d $((milliseconds % 1000)))"
  kill -0 "$guest" 2>/dev/null || fail "the guest ended before its power was cut"
  stop_guest
  ! grep -q '^guest:' "$work/console" || fail "the writer had trouble"
  echo "power cut after $milliseconds ms of writing: $(wc -l <"$work/journal") lines of journal"
}

# build_image NUMBER: leaves the device's directory, copied out of the file system of a crash image.
build_image() {
  local code=0
  cp --sparse=always "$work/disk_before" "$work/image"
  limited "$here/replay.py" "$work/log" "$work/image" "$((seed + $1))" || code=$?
  [ "$code" -eq 0 ] || return "$code"
  # Replays the journal of the file system, whose promises hold only if the image is a legal one.
  limited e2fsck -fp "$work/image" >"$work/e2fsck" || code=$?
  [ "$code" -le 1 ] || fail "the file system of image $1 is damaged"
  rm -rf "$work/out"
  mkdir "$work/out"
  limited debugfs -R "rdump /device $work/out" "$work/image" >"$work/debugfs" 2>&1
  [ -f "$work/out/device/segments" ] || fail "image $1 has no device"
}

# check_image: its exit code is the check's; what is missing or wrong is in the file `check`.
check_image() {
  local code=0
  limited "$writer" check "$work/out/device" "$work/journal" >"$work/check" || code=$?
  tail -n 1 "$work/check"
  return "$code"
}

# run_images SYNC EXPECTED: of one power cut; every check has to end with EXPECTED.
run_images() {
  local image code attempt=1
  cut_power "$1"
  for ((image = 1; image <= count; ++image)); do
    code=0
    build_image "$image" || code=$?
    if [ "$code" -eq "$log_cut_short" ] && [ "$attempt" -lt "$attempts_max" ]; then
      attempt=$((attempt + 1))
      image=0
      cut_power "$1"
      continue
    fi
    [ "$code" -eq 0 ] || fail "image $image cannot be built"
    check_image || code=$?
    [ "$code" -eq "$2" ] || fail "the check of image $image ended with $code instead of $2"
  done
}

RANDOM=$((seed % 32768))
echo "seed $seed, $count images"
prepare_kernel
prepare_guest
echo "with syncs: nothing wrong, nothing durable missing"
run_images always 0
echo "without syncs: nothing wrong, but durable records missing, or the test could not fail"
run_images never "$only_durable_missing"
echo "passed"
