package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// table is the rows that were measured, in the order in which they were.
type table struct{ rows []row }

// row is one measurement. Figure is the one that the bound is about: a ratio
// wherever there is something to compare with.
type row struct {
	what   string
	figure float64
	unit   string // behind the figure, such as "x" or " ms"
	most   bool   // the bound is the most that figure may be, not the least
	bound  float64
	detail string // ours beside the peer's
}

// atMost and atLeast add a row.
func (t *table) atMost(bound float64, unit string, figure float64, what, detail string, args ...any) {
	t.rows = append(t.rows, row{what, figure, unit, true, bound, fmt.Sprintf(detail, args...)})
}

func (t *table) atLeast(bound float64, unit string, figure float64, what, detail string, args ...any) {
	t.rows = append(t.rows, row{what, figure, unit, false, bound, fmt.Sprintf(detail, args...)})
}

// note adds a row without a bound.
func (t *table) note(unit string, figure float64, what, detail string, args ...any) {
	t.rows = append(t.rows, row{what: what, figure: figure, unit: unit, detail: fmt.Sprintf(detail, args...)})
}

func (r row) holds() string {
	switch {
	case r.bound == 0 && !r.most:
		return ""
	case r.most == (r.figure <= r.bound) || r.figure == r.bound:
		return "holds"
	}
	return "MISSED"
}

func (r row) limit() string {
	switch {
	case r.bound == 0 && !r.most:
		return ""
	case r.most:
		return fmt.Sprintf("≤ %s%s", short(r.bound), r.unit)
	}
	return fmt.Sprintf("≥ %s%s", short(r.bound), r.unit)
}

func (t *table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FIGURE\tBOUND\t\tWHAT\tOURS, AND BESIDE IT")
	for _, r := range t.rows {
		fmt.Fprintf(tw, "%s%s\t%s\t%s\t%s\t%s\n", short(r.figure), r.unit, r.limit(), r.holds(), r.what, r.detail)
	}
	_ = tw.Flush()
}

// short writes three digits or a bit more.
func short(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
