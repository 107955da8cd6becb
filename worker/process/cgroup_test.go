package process

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestControllersAreFoundWhereTheyAreMounted(t *testing.T) {
	const v1 = `24 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
25 24 0:21 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
26 24 0:22 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
27 24 0:23 / /sys/fs/cgroup/a\040b rw - cgroup cgroup rw,pids
28 24 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
	for _, c := range []struct {
		name, mountinfo, own string
		want                 map[string]place
	}{
		{"version 1", v1, "9:pids:/\n4:memory:/docker/abc/x\n1:cpu,cpuacct:/user.slice\n0::/\n", map[string]place{
			"cpu": {1, "/sys/fs/cgroup/cpu,cpuacct", "/user.slice"}, "memory": {1, "/sys/fs/cgroup/memory", "/x"},
			"pids": {1, "/sys/fs/cgroup/a b", "/"}, "": {2, "/sys/fs/cgroup/unified", "/"},
		}},
		{"version 2", "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user.slice/user-1000.slice\n",
			map[string]place{"": {2, "/sys/fs/cgroup", "/user.slice/user-1000.slice"}}},
		{"not below the mount", "26 24 0:22 /docker/abc /m rw - cgroup cgroup rw,memory\n", "4:memory:/docker/abcdef\n", map[string]place{}},
		{"nothing", "", "", map[string]place{}},
		{"not of its form", "- cgroup\n - \n1 2 3\n", "a:b\n", map[string]place{}},
	} {
		if diff := cmp.Diff(c.want, places(c.mountinfo, c.own), cmp.AllowUnexported(place{})); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestCountersAreRead(t *testing.T) {
	for text, want := range map[string]string{"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n": "3", "low 0\noom_kill 0\n": "0", "": "0", "oom_kill": "0"} {
		if got := counter(text, "oom_kill"); got != want {
			t.Errorf("%q gave %s", text, got)
		}
	}
}

func FuzzPlaces(f *testing.F) {
	f.Add("25 24 0:21 / /c rw - cgroup cgroup rw,cpu\n", "1:cpu:/\n")
	f.Fuzz(func(t *testing.T, mountinfo, own string) { places(mountinfo, own) })
}
