package process

import (
	"path"
	"slices"
	"strings"
)

// place is where a controller's groups are seen, and where we are among them.
type place struct {
	version int    // 1 or 2
	mount   string // folder
	own     string // our own group, below mount
}

// places reads where controllers are mounted, from /proc/self/mountinfo and
// /proc/self/cgroup. Version 1 goes first: where both are mounted, it has the controllers.
func places(mountinfo, own string) map[string]place {
	paths := map[string]string{} // of our group, by controller; "" for version 2
	for line := range strings.Lines(own) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			paths[controller] = fields[2]
		}
	}
	found := map[string]place{}
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		fields, kinds := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kinds) < 3 {
			continue
		}
		root, mount := fields[3], unescape(fields[4])
		switch kinds[0] {
		case "cgroup2":
			if within, ok := below(root, paths[""]); ok {
				found[""] = place{version: 2, mount: mount, own: within}
			}
		case "cgroup":
			options := strings.Split(kinds[2], ",")
			for _, controller := range []string{"cpu", "memory", "pids"} {
				if !slices.Contains(options, controller) {
					continue
				}
				if within, ok := below(root, paths[controller]); ok {
					found[controller] = place{version: 1, mount: mount, own: within}
				}
			}
		}
	}
	return found
}

// below gives a group's path as seen under a mount of root.
func below(root, group string) (string, bool) {
	if root == "/" {
		return path.Clean("/" + group), group != ""
	}
	rest, ok := strings.CutPrefix(group, root)
	return path.Clean("/" + rest), ok && (rest == "" || rest[0] == '/')
}

func unescape(text string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(text)
}

// counter reads a number from a file of lines such as "oom_kill 3".
func counter(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && key == name {
			return value
		}
	}
	return "0"
}
