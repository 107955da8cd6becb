package process

import (
	"maps"
	"runtime"
	"slices"

	"lapis/worker"
)

// Ungroup has a runtime hold limits as where no cgroup can be used.
func Ungroup(r *Runtime) {
	r.groups.close()
	r.groups = &groups{why: map[string]string{"cpu": "none here"}}
}

// GroupDirs tells tests the folders of an instance's cgroups.
func GroupDirs(i worker.Instance) []string {
	return slices.Collect(maps.Values(i.(*instance).group.dirs))
}

// Spares tells tests the ids of the processes that were forked ahead and wait,
// once none is being made.
func Spares(r *Runtime) []int {
	Zygotes(r)
	for {
		making := false
		var pids []int
		r.zygotes.mu.Lock()
		for z := range r.zygotes.live {
			z.mu.Lock()
			making = making || z.ahead.making
			if z.ahead.spare != nil {
				pids = append(pids, z.ahead.spare.process.pid())
			}
			z.mu.Unlock()
		}
		r.zygotes.mu.Unlock()
		if !making {
			return pids
		}
		runtime.Gosched()
	}
}

// SpareDirs tells tests the folders of the cgroups of what was forked ahead.
func SpareDirs(r *Runtime) (dirs []string) {
	Spares(r)
	r.zygotes.mu.Lock()
	defer r.zygotes.mu.Unlock()
	for z := range r.zygotes.live {
		z.mu.Lock()
		if z.ahead.spare != nil {
			dirs = slices.AppendSeq(dirs, maps.Values(z.ahead.spare.cradle.group.dirs))
		}
		z.mu.Unlock()
	}
	return dirs
}
