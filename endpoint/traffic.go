package endpoint

import (
	"maps"
	"slices"
	"strings"

	"lapis/fault"
	"lapis/scoring"
)

// checkTraffic holds weights against the deployments that exist: each 0 to
// 100, in sum 0 or 100. Zero weights are left out of what it returns.
func checkTraffic(traffic map[string]int, deployments []string) (map[string]int, error) {
	sum, kept := 0, map[string]int{}
	for name, percent := range traffic {
		at := "properties.traffic." + name
		if percent < 0 || percent > 100 {
			return nil, fault.E(fault.Invalid, "InvalidTraffic", "The traffic of '%s' is %d; it must be 0 to 100.", name, percent).At(at)
		}
		i := slices.IndexFunc(deployments, func(d string) bool { return strings.EqualFold(d, name) })
		if i < 0 && percent > 0 {
			return nil, fault.E(fault.Invalid, "InvalidTraffic", "Traffic is given to the deployment '%s', which does not exist in the endpoint.", name).At(at)
		}
		if percent == 0 {
			continue
		}
		if kept[deployments[i]] > 0 {
			return nil, fault.E(fault.Invalid, "InvalidTraffic", "The deployment '%s' is named twice, in another case; names are compared without regard to it.", deployments[i]).At(at)
		}
		sum += percent
		kept[deployments[i]] = percent
	}
	if sum != 0 && sum != 100 {
		return nil, fault.E(fault.Invalid, "InvalidTraffic", "The traffic percentages sum to %d; they must sum to 0 or 100.", sum).At("properties.traffic")
	}
	return kept, nil
}

// checkMirror holds mirrored traffic against the rules: one deployment at
// most, which exists and has no live traffic, and not more than half of all.
func checkMirror(mirror, traffic map[string]int, deployments []string) (map[string]int, error) {
	kept := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(mirror)) {
		percent, at := mirror[name], "properties.mirrorTraffic."+name
		i := slices.IndexFunc(deployments, func(d string) bool { return strings.EqualFold(d, name) })
		switch {
		case percent < 0 || percent > scoring.MaxMirror:
			return nil, fault.E(fault.Invalid, "InvalidTraffic", "The mirrored traffic of '%s' is %d; it must be 0 to %d.", name, percent, scoring.MaxMirror).At(at)
		case percent == 0:
			continue
		case i < 0:
			return nil, fault.E(fault.Invalid, "InvalidTraffic", "Traffic is mirrored to the deployment '%s', which does not exist in the endpoint.", name).At(at)
		case len(kept) > 0:
			return nil, fault.E(fault.Invalid, "InvalidTraffic", "Traffic can be mirrored to one deployment only; '%s' is another.", name).At(at)
		case traffic[deployments[i]] > 0:
			return nil, fault.E(fault.Invalid, "InvalidTraffic", "The deployment '%s' has %d%% of the live traffic; it cannot have mirrored traffic as well.", name, traffic[deployments[i]]).At(at)
		}
		kept[deployments[i]] = percent
	}
	return kept, nil
}
