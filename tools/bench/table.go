package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// table collects the measured rows.
type table struct{ rows []row }

// row is one measurement. Its figure is what the bound limits: a ratio wherever
// there is something to compare with.
type row struct {
	what   string
	figure float64
	unit   string // behind the figure, such as "x" or " ms"
	sign   string // of the bound: "≤", "≥", or "" where the row has none
	bound  float64
	detail string // ours beside the peer's
}

func (t *table) atMost(bound float64, unit string, figure float64, what, detail string, args ...any) {
	t.rows = append(t.rows, row{what, figure, unit, "≤", bound, fmt.Sprintf(detail, args...)})
}

func (t *table) atLeast(bound float64, unit string, figure float64, what, detail string, args ...any) {
	t.rows = append(t.rows, row{what, figure, unit, "≥", bound, fmt.Sprintf(detail, args...)})
}

// note adds a row without a bound.
func (t *table) note(unit string, figure float64, what, detail string, args ...any) {
	t.rows = append(t.rows, row{what: what, figure: figure, unit: unit, detail: fmt.Sprintf(detail, args...)})
}

func (t *table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FIGURE\tBOUND\t\tWHAT\tOURS, AND BESIDE IT")
	for _, r := range t.rows {
		limit, verdict := "", ""
		if r.sign != "" {
			limit, verdict = fmt.Sprintf("%s %s%s", r.sign, short(r.bound), r.unit), "holds"
			if r.sign == "≤" && r.figure > r.bound || r.sign == "≥" && r.figure < r.bound {
				verdict = "MISSED"
			}
		}
		fmt.Fprintf(tw, "%s%s\t%s\t%s\t%s\t%s\n", short(r.figure), r.unit, limit, verdict, r.what, r.detail)
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
