package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lapis/worker"
)

// MachineMemory is how much memory this machine has, in bytes; 0 if that is not known.
func MachineMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

const cpuPeriod = 100_000 // µs

// branch is a folder in which groups of one controller can be made.
type branch struct {
	version int
	dir     string
}

// groups makes control groups for instances, for the controllers that may be used.
type groups struct {
	branches map[string]branch
	why      map[string]string // why a controller may not be used
}

// openGroups looks which controllers may be used, and removes what an earlier
// runtime of the same folder has left in them. It never fails.
func openGroups(dir string) *groups {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	own, ownErr := os.ReadFile("/proc/self/cgroup")
	g := &groups{branches: map[string]branch{}, why: map[string]string{}}
	sum := sha256.Sum256([]byte(dir))
	name := "lapis-" + hex.EncodeToString(sum[:6])
	found := places(string(mounts), string(own))
	forsake(filepath.Join(dir, "cgroups"), name)
	for _, controller := range []string{"cpu", "memory", "pids"} {
		at, ok := found[controller]
		if !ok {
			at, ok = found[""]
		}
		if !ok {
			g.why[controller] = "no cgroup has the controller " + controller
			if err := errors.Join(err, ownErr); err != nil {
				g.why[controller] = err.Error()
			}
			continue
		}
		b, err := openBranch(at, controller, name)
		if err != nil {
			g.why[controller] = err.Error()
			continue
		}
		g.branches[controller] = b
	}
	var used []string
	for _, b := range g.branches {
		used = append(used, b.dir)
	}
	_ = os.WriteFile(filepath.Join(dir, "cgroups"), []byte(strings.Join(used, "\n")), 0o600)
	return g
}

// forsake removes the folders that an earlier runtime has noted in a file: it
// may have been in other groups than we are.
func forsake(file, name string) {
	noted, _ := os.ReadFile(file)
	for dir := range strings.SplitSeq(string(noted), "\n") {
		if filepath.IsAbs(dir) && filepath.Base(dir) == name {
			branch{dir: dir}.sweep()
			_ = os.Remove(dir)
		}
	}
}

// openBranch makes our folder, in our own group or in the nearest one above where it works.
func openBranch(at place, controller, name string) (branch, error) {
	var first error
	for group := at.own; ; group = filepath.Dir(group) {
		b := branch{version: at.version, dir: filepath.Join(at.mount, group, name)}
		err := b.open(controller)
		if err == nil {
			return b, nil
		}
		if first == nil {
			first = err
		}
		if group == "/" || at.version == 1 {
			return branch{}, first
		}
	}
}

func (b branch) open(controller string) error {
	if b.version == 2 {
		// A group that holds processes itself cannot share out controllers; those above can.
		if err := enable(filepath.Dir(b.dir), controller); err != nil {
			return err
		}
	}
	if err := os.Mkdir(b.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	b.sweep()
	if b.version == 2 {
		if err := enable(b.dir, controller); err != nil {
			return err
		}
	}
	probe := filepath.Join(b.dir, "probe")
	if err := os.Mkdir(probe, 0o755); err != nil {
		return err
	}
	defer os.Remove(probe)
	var errs []error
	for file, value := range b.settings(controller, worker.Limits{CPU: 1, Memory: 1 << 30, Processes: 100}) {
		errs = append(errs, set(filepath.Join(probe, file), value))
	}
	return errors.Join(errs...)
}

// enable shares a controller out to the groups below dir.
func enable(dir, controller string) error {
	file := filepath.Join(dir, "cgroup.subtree_control")
	have, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if slices.Contains(strings.Fields(string(have)), controller) {
		return nil
	}
	return set(file, "+"+controller)
}

// set writes a value into a file of the kernel's.
func set(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// settings are the files that hold a limit, and what they are to hold.
func (b branch) settings(controller string, limits worker.Limits) map[string]string {
	quota := strconv.Itoa(max(1000, int(math.Round(limits.CPU*cpuPeriod))))
	memory := strconv.FormatInt(limits.Memory, 10)
	switch {
	case controller == "cpu" && b.version == 1:
		return map[string]string{"cpu.cfs_quota_us": quota}
	case controller == "cpu":
		return map[string]string{"cpu.max": fmt.Sprintf("%s %d", quota, cpuPeriod)}
	case controller == "memory" && b.version == 1:
		return map[string]string{"memory.limit_in_bytes": memory}
	case controller == "memory":
		return map[string]string{"memory.max": memory}
	}
	return map[string]string{"pids.max": strconv.Itoa(limits.Processes)}
}

// more are settings that not every kernel has: no swap in place of memory, and
// no half of an instance left when memory runs out.
func (b branch) more(controller string, limits worker.Limits) map[string]string {
	switch {
	case controller == "memory" && b.version == 1:
		return map[string]string{"memory.memsw.limit_in_bytes": strconv.FormatInt(limits.Memory, 10)}
	case controller == "memory":
		return map[string]string{"memory.swap.max": "0", "memory.oom.group": "1"}
	}
	return nil
}

// sweep ends what is left in the groups, and removes them.
func (b branch) sweep() {
	entries, _ := os.ReadDir(b.dir)
	for _, entry := range entries {
		if entry.IsDir() {
			dissolve(filepath.Join(b.dir, entry.Name()))
		}
	}
}

// dissolve ends the processes of a group and removes it, for a second at most.
func dissolve(dir string) {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
		for _, pid := range members(dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func members(dir string) []int {
	data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for text := range strings.FieldsSeq(string(data)) {
		if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (g *groups) mechanisms() Mechanisms {
	of := func(controller, instead string) string {
		if b, ok := g.branches[controller]; ok {
			return "cgroup v" + strconv.Itoa(b.version)
		}
		return instead
	}
	return Mechanisms{CPU: of("cpu", "none: "+g.why["cpu"]), Memory: of("memory", "watched"), Processes: of("pids", "watched")}
}

// close removes our folders.
func (g *groups) close() {
	for _, b := range g.branches {
		b.sweep()
		_ = os.Remove(b.dir)
	}
}

// group is the control groups of one instance, one for each controller that is used.
type group struct {
	dirs   map[string]string // by controller
	limits worker.Limits

	mu           sync.Mutex
	toldProcs    bool
	toldOOM      string
	lastOOMCount string
}

// binding names the controllers that are needed for limits, on this machine.
func (g *groups) binding(limits worker.Limits) []string {
	var names []string
	for _, controller := range []struct {
		name   string
		wanted bool
	}{
		{"cpu", limits.CPU > 0 && limits.CPU < float64(runtime.NumCPU())}, {"memory", limits.Memory > 0}, {"pids", limits.Processes > 0},
	} {
		if _, ok := g.branches[controller.name]; ok && controller.wanted {
			names = append(names, controller.name)
		}
	}
	return names
}

// make makes the groups of an instance, for the limits that bind on this machine.
func (g *groups) make(mark string, limits worker.Limits) (*group, error) {
	made := &group{dirs: map[string]string{}, limits: limits}
	for _, controller := range g.binding(limits) {
		dir := filepath.Join(g.branches[controller].dir, mark)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			made.close()
			return nil, err
		}
		made.dirs[controller] = dir
	}
	if err := g.limit(made, limits); err != nil {
		made.close()
		return nil, err
	}
	return made, nil
}

// limit writes limits into groups that are there.
func (g *groups) limit(made *group, limits worker.Limits) error {
	for controller, dir := range made.dirs {
		b := g.branches[controller]
		for file, value := range b.settings(controller, limits) {
			if err := set(filepath.Join(dir, file), value); err != nil {
				return err
			}
		}
		for file, value := range b.more(controller, limits) {
			_ = set(filepath.Join(dir, file), value)
		}
	}
	made.limits = limits
	return nil
}

// adopt has groups that were made ahead hold other limits. It reports false
// if those need other groups, or cannot be set.
func (g *groups) adopt(made *group, limits worker.Limits) bool {
	if made.limits == limits {
		return true
	}
	wanted := g.binding(limits)
	if len(wanted) != len(made.dirs) || slices.ContainsFunc(wanted, func(name string) bool { return made.dirs[name] == "" }) {
		return false
	}
	return g.limit(made, limits) == nil
}

// files are those into which a process is written that is to join.
func (g *group) files() []string {
	var files []string
	for _, dir := range g.dirs {
		if file := filepath.Join(dir, "cgroup.procs"); !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
}

// join puts a process that has just been started into the groups.
func (g *group) join(pid int) error {
	for _, file := range g.files() {
		if err := set(file, strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) holdsMemory() bool    { return g.dirs["memory"] != "" }
func (g *group) holdsProcesses() bool { return g.dirs["pids"] != "" }

// processes of the group; nil if there is none that knows.
func (g *group) processes() []int {
	for _, dir := range g.dirs {
		return members(dir)
	}
	return nil
}

// killed tells how often the kernel has ended a process because memory ran out.
func (g *group) killed() string {
	dir := g.dirs["memory"]
	if dir == "" {
		return "0"
	}
	for _, file := range []string{"memory.events", "memory.oom_control"} {
		if data, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
			return counter(string(data), "oom_kill")
		}
	}
	return "0"
}

// news tells, once each, of limits that were reached and that the instance has outlived.
func (g *group) news() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var texts []string
	if killed := g.killed(); killed != "0" && killed != g.toldOOM {
		if g.lastOOMCount == killed { // a second later the instance still lives, so it was another process
			g.toldOOM = killed
			texts = append(texts, fmt.Sprintf("A process of this instance was ended, because its memory (%s) ran out.", size(g.limits.Memory)))
		}
		g.lastOOMCount = killed
	}
	if dir := g.dirs["pids"]; dir != "" && !g.toldProcs {
		data, _ := os.ReadFile(filepath.Join(dir, "pids.events"))
		if counter(string(data), "max") != "0" {
			g.toldProcs = true
			texts = append(texts, fmt.Sprintf("The script could not start another process or thread: its instance may have %d.", g.limits.Processes))
		}
	}
	return texts
}

// close ends what is left in the groups, and removes them.
func (g *group) close() {
	for _, dir := range g.dirs {
		dissolve(dir)
	}
}

// usageOf sums up an instance's processes. Without a list it is the leader and those that come from it.
func usageOf(leader int, pids []int) (worker.Usage, error) {
	if pids == nil {
		pids = descendants(leader)
	}
	var usage worker.Usage
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue // it has just ended
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 22 {
			continue
		}
		ticks := number(fields[11]) + number(fields[12])
		if pid == leader {
			ticks += number(fields[13]) + number(fields[14]) // of children that have ended
		}
		usage.CPU += time.Duration(ticks) * (time.Second / 100) // USER_HZ, which is 100 on all of Go's ports
		usage.Memory += number(fields[21]) * int64(os.Getpagesize())
		usage.Processes++
	}
	if usage.Processes == 0 {
		return usage, worker.ErrExited
	}
	return usage, nil
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// descendants of a process, and itself.
func descendants(pid int) []int {
	all := []int{pid}
	for next := 0; next < len(all); next++ {
		files, _ := filepath.Glob("/proc/" + strconv.Itoa(all[next]) + "/task/*/children")
		for _, file := range files {
			data, _ := os.ReadFile(file)
			for text := range strings.FieldsSeq(string(data)) {
				if child, err := strconv.Atoi(text); err == nil && !slices.Contains(all, child) {
					all = append(all, child)
				}
			}
		}
	}
	return all
}
