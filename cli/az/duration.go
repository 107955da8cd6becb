package az

import (
	"regexp"
	"strconv"
	"strings"
)

// isoDuration writes milliseconds as the wire does: PT1M30S, PT0.5S.
func isoDuration(ms int64) string {
	if ms <= 0 {
		return "PT0S"
	}
	var out strings.Builder
	out.WriteString("P")
	if days := ms / 86_400_000; days > 0 {
		out.WriteString(strconv.FormatInt(days, 10) + "D")
	}
	ms %= 86_400_000
	if ms == 0 {
		return out.String()
	}
	out.WriteString("T")
	if hours := ms / 3_600_000; hours > 0 {
		out.WriteString(strconv.FormatInt(hours, 10) + "H")
	}
	ms %= 3_600_000
	if minutes := ms / 60_000; minutes > 0 {
		out.WriteString(strconv.FormatInt(minutes, 10) + "M")
	}
	if ms %= 60_000; ms > 0 {
		out.WriteString(strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64) + "S")
	}
	return out.String()
}

var isoParts = regexp.MustCompile(`^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// durationMS reads what isoDuration writes; ok is false for anything else.
func durationMS(text string) (ms int64, ok bool) {
	m := isoParts.FindStringSubmatch(text)
	if m == nil || text == "P" || strings.HasSuffix(text, "T") {
		return 0, false
	}
	total := 0.0
	for i, unit := range []float64{7 * 86_400_000, 86_400_000, 3_600_000, 60_000, 1000} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(m[i+1], 64)
		if err != nil || n > 1e9 {
			return 0, false
		}
		total += n * unit
	}
	return int64(total + 0.5), true
}
