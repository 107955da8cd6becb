package environment

import (
	"context"
	"regexp"
	"strings"

	"lapis/fault"
)

var (
	networkLine = regexp.MustCompile(`(?i)tcp connect error|dns error|connection refused|connection broken|connection reset|` +
		`failed to lookup address|name or service not known|temporary failure in name resolution|network is unreachable|no route to host|` +
		`timed out|timeout error|tunnel error|unsuccessful tunnel|tunnel connection failed|invalid peer certificate|certificate verify failed|SSLError|ProxyError|` +
		`network was disabled|status (?:client|server) error \((?:407|502|503|504)|HTTP error (?:407|502|503|504)`)
	diskLine   = regexp.MustCompile(`(?i)no space left on device|disk quota exceeded|os error 28\b|Errno 28\b`)
	usefulLine = regexp.MustCompile(`(?i)error|because|cause:|conflict|no matching|requires|not found|unsatisfiable|hint:|depends on|cannot|failed|╰─▶|×`)
	noiseLine  = regexp.MustCompile(`^\s*(?:Using |Resolved |Prepared |Downloading |Downloaded |Collecting |Requirement already|Looking in|\[notice\]|WARNING: Retrying|warning: )`)
)

// toolFailed turns the last lines of a tool into the error of the build.
func toolFailed(ctx context.Context, lines, indexes []string, offline bool) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	text := strings.Join(lines, "\n")
	if diskLine.MatchString(text) {
		return fault.E(fault.Conflict, Code, "the disk is full: %s", useful(lines)).With(logDetail(lines))
	}
	if offline || networkLine.MatchString(text) {
		return unreachable(indexes, lines)
	}
	return fault.E(fault.Invalid, Code, "the packages of the conda file cannot be installed: %s", useful(lines)).
		At("environment.conda_file").With(logDetail(lines))
}

// unreachable is the fault for an index that does not answer.
func unreachable(indexes, lines []string) error {
	cause := &Unreachable{Lines: lines}
	for _, index := range indexes {
		cause.Indexes = append(cause.Indexes, redact(index))
	}
	if len(cause.Indexes) == 0 {
		cause.Indexes = []string{"none is configured"}
	}
	f := fault.E(fault.Unavailable, Code, "%w: check network, proxy and pip configuration, or make the environment "+
		"from what this machine's Python has with --environment host", cause)
	if len(lines) > 0 {
		f = f.With(logDetail(lines))
	}
	return f
}

func logDetail(lines []string) *fault.Error {
	return fault.E(fault.Invalid, "ImageBuildLog", "%s", strings.Join(lines, "\n"))
}

// useful picks the lines that say why, at most six, the last ones.
func useful(lines []string) string {
	var picked []string
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l != "" && usefulLine.MatchString(l) && !noiseLine.MatchString(l) {
			picked = append(picked, clip(l, 600))
		}
	}
	if len(picked) == 0 {
		for _, l := range lines {
			if strings.TrimSpace(l) != "" {
				picked = append(picked, clip(strings.TrimSpace(l), 600))
			}
		}
	}
	if len(picked) > 6 {
		picked = picked[len(picked)-6:]
	}
	if len(picked) == 0 {
		return "the tool ended without a word"
	}
	return strings.Join(picked, "; ")
}

// clip shortens long lines in the middle: pip lists every version before it
// names the package.
func clip(line string, limit int) string {
	if len(line) <= limit {
		return line
	}
	half := limit / 2
	return strings.ToValidUTF8(line[:half], "") + " ... " + strings.ToValidUTF8(line[len(line)-half:], "")
}
