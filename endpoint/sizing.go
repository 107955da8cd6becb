package endpoint

import (
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"lapis/fault"
	"lapis/worker"
)

// isolationProperty is our addition to a deployment's properties: "fresh" has
// each of its instances start in a process of its own, "shared" (or nothing)
// lets them be forked from one that has imported the environment's packages.
const isolationProperty = "lapis.isolation"

// maxProcesses is how many processes an instance may have; where cgroups hold
// it, threads count too. A virtual machine has no such limit, but has its own
// processes only.
const maxProcesses = 1024

// checkIsolation refuses what would silently not be in force.
func (p *deployment) checkIsolation() error {
	switch value := p.Properties[isolationProperty]; value {
	case "", "fresh", "shared":
		return nil
	default:
		return fault.E(fault.Invalid, "BadArgument", "The property %s is fresh or shared, not '%.128s'.", isolationProperty, value).At("properties.properties")
	}
}

// trust names those with whom an instance may share the beginning of its
// process: packages of an environment run in all endpoints of a workspace that
// use it anyway.
func (s *Service) trust(p *plan) string {
	own := p.spec.Properties[isolationProperty]
	if own == "fresh" || own == "" && s.FreshProcesses {
		return ""
	}
	return strings.ToLower(p.endpoint.ID.Parent().String())
}

// machine is the size of an instance type.
type machine struct {
	cpus   int
	memory float64 // GiB
}

// odd are the sizes of virtual machines that follow no rule, in lower case.
func odd(name string) (machine, bool) {
	switch name {
	case "b1ls":
		return machine{1, 0.5}, true
	case "b1s":
		return machine{1, 1}, true
	case "b1ms":
		return machine{1, 2}, true
	case "b2s":
		return machine{2, 4}, true
	case "d1_v2":
		return machine{1, 3.5}, true
	case "d2_v2":
		return machine{2, 7}, true
	case "d3_v2":
		return machine{4, 14}, true
	case "d4_v2":
		return machine{8, 28}, true
	case "d5_v2":
		return machine{16, 56}, true
	case "d11_v2":
		return machine{2, 14}, true
	case "d12_v2":
		return machine{4, 28}, true
	case "d13_v2":
		return machine{8, 56}, true
	case "d14_v2":
		return machine{16, 112}, true
	case "d15_v2":
		return machine{20, 140}, true
	case "e64_v3":
		return machine{64, 432}, true
	case "e64_v4":
		return machine{64, 504}, true
	case "e96_v5":
		return machine{96, 672}, true
	case "nc6_v3":
		return machine{6, 112}, true
	case "nc12_v3":
		return machine{12, 224}, true
	case "nc24_v3":
		return machine{24, 448}, true
	case "nc4_t4_v3":
		return machine{4, 28}, true
	case "nc8_t4_v3":
		return machine{8, 56}, true
	case "nc16_t4_v3":
		return machine{16, 110}, true
	case "nc64_t4_v3":
		return machine{64, 440}, true
	}
	return machine{}, false
}

// vmSize takes the name of a size apart: family, processors, features, version.
var vmSize = regexp.MustCompile(`^standard_(d|ds|e|f|b|nc)(\d{1,3})([a-z]*)((?:_t4)?)((?:_v\d)?)$`)

// machineOf finds the processors and the memory of an instance type, as Azure's
// lists of virtual machines have them.
func machineOf(instanceType string) (machine, bool) {
	m := vmSize.FindStringSubmatch(strings.ToLower(instanceType))
	if m == nil {
		return machine{}, false
	}
	family, features, version := strings.TrimSuffix(m[1], "s"), m[3], m[5]
	cpus, _ := strconv.Atoi(m[2])
	name := family + m[2] + m[4] + version
	if family == "b" {
		name = family + m[2] + features
	}
	if found, ok := odd(name); ok {
		return found, true
	}
	modern := version >= "_v3" && strings.Trim(features, "adslp") == ""
	low := strings.Contains(features, "l")
	switch {
	case cpus < 1 || cpus > 104:
	case family == "d" && modern && low:
		return machine{cpus, 2 * float64(cpus)}, true
	case family == "d" && modern, family == "b" && version == "" && features == "ms":
		return machine{cpus, 4 * float64(cpus)}, true
	case family == "e" && modern && !low:
		return machine{cpus, 8 * float64(cpus)}, true
	case family == "f" && (version == "" || version == "_v2") && strings.Trim(features, "s") == "":
		return machine{cpus, 2 * float64(cpus)}, true
	}
	return machine{}, false
}

// limits are those of an instance, and what is to be said of them.
func (p *deployment) limits(memory int64) (worker.Limits, string) {
	size, known := machineOf(p.InstanceType)
	if !known {
		return worker.Limits{Processes: maxProcesses},
			fmt.Sprintf("the size of instance type %s is not known here: its instances have no limit of processors and memory", p.InstanceType)
	}
	limits := worker.Limits{CPU: float64(size.cpus), Memory: int64(size.memory * (1 << 30)), Processes: maxProcesses}
	if here := runtime.NumCPU(); size.cpus > here || memory > 0 && limits.Memory > memory {
		return limits, fmt.Sprintf("instance type %s has %d processors and %g GiB, this machine %d and %.1f: an instance gets less than on Azure",
			p.InstanceType, size.cpus, size.memory, here, float64(memory)/(1<<30))
	}
	return limits, ""
}
