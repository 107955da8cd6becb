package main

import (
	"fmt"
	"io"
	"slices"
)

// samples are repeated measurements of one thing.
type samples []float64

func (s samples) sorted() samples { return slices.Sorted(slices.Values(s)) }

// median is the middle sample, or the mean of the two in the middle.
func (s samples) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted, n := s.sorted(), len(s)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// unit is what samples count, and which of them are better.
type unit struct {
	name string
	more bool // a greater value is better
}

var (
	ms     = unit{name: "ms"}
	us     = unit{name: "µs"}
	ns     = unit{name: "ns"}
	sec    = unit{name: "s"}
	mb     = unit{name: "MB"}
	perSec = unit{name: "/s", more: true}
	mbPerS = unit{name: "MB/s", more: true}
)

// figure is one line of the report. A floor is the least work that any program
// must do for the same result on the same machine, measured in the same run.
type figure struct {
	name   string
	unit   unit
	target float64 // 0: none was set
	value  samples
	floor  samples // of the same unit; nil: there is none
	what   string  // names the floor
	note   string
}

func (f figure) met() bool {
	if f.unit.more {
		return f.value.median() >= f.target
	}
	return f.value.median() <= f.target
}

func (f figure) verdict() string {
	switch {
	case len(f.value) == 0:
		return "not measured"
	case f.target == 0:
		return ""
	case f.met():
		return "met"
	}
	return "short"
}

func (f figure) goal() string {
	switch {
	case f.target == 0:
		return "-"
	case f.unit.more:
		return fmt.Sprintf("≥ %g %s", f.target, f.unit.name)
	}
	return fmt.Sprintf("≤ %g %s", f.target, f.unit.name)
}

// ratio says how many times the floor's time a value takes, or which part of
// the floor's rate it reaches.
func (f figure) ratio() string {
	floor := f.floor.median()
	if floor == 0 {
		return ""
	}
	return fmt.Sprintf("%s × %s (%s %s)", number(f.value.median()/floor), f.what, number(floor), f.unit.name)
}

func (f figure) measured() string {
	if len(f.value) == 0 {
		return "-"
	}
	sorted := f.value.sorted()
	return fmt.Sprintf("%s %s (%s..%s, n=%d)", number(f.value.median()), f.unit.name, number(sorted[0]), number(sorted[len(sorted)-1]), len(sorted))
}

// columns are the table's, in order.
func (f figure) columns() []string {
	last := f.ratio()
	if f.note != "" {
		if last != "" {
			last += "; "
		}
		last += f.note
	}
	return []string{f.name, f.goal(), f.measured(), f.verdict(), last}
}

var widths = []int{49, 11, 34, 6}

func (f figure) print(w io.Writer, markdown bool) {
	cells := f.columns()
	if markdown {
		fmt.Fprint(w, "|")
		for _, c := range cells {
			fmt.Fprintf(w, " %s |", c)
		}
		fmt.Fprintln(w)
		return
	}
	for i, c := range cells {
		if i < len(widths) {
			fmt.Fprintf(w, "%-*s  ", widths[i], c)
			continue
		}
		fmt.Fprintln(w, c)
	}
}

// number writes three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}
