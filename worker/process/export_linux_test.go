package process

import (
	"maps"
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
