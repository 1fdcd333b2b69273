package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// grid is lines of cells in aligned columns, two blanks apart. Widths are those of a
// terminal, where Chinese characters take two columns.
type grid struct {
	right  func(column int) bool // columns that are aligned to the right; nil for none
	rows   [][]string
	widths []int // what each column has needed so far
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

// write writes the lines and forgets them. The widths stay: lines that are added later
// keep to them, but where one is too long.
func (g *grid) write(w io.Writer) error {
	for _, row := range g.rows {
		for i, cell := range row {
			if i == len(g.widths) {
				g.widths = append(g.widths, 0)
			}
			g.widths[i] = max(g.widths[i], explain.Width(cell))
		}
	}
	for _, row := range g.rows {
		if _, err := io.WriteString(w, g.line(row)+"\n"); err != nil {
			return err
		}
	}
	g.rows = g.rows[:0]
	return nil
}

func (g *grid) line(row []string) string {
	var b strings.Builder
	for i, cell := range row {
		blanks := strings.Repeat(" ", g.widths[i]-explain.Width(cell))
		if g.right != nil && g.right(i) {
			cell = blanks + cell
		} else {
			cell += blanks
		}
		b.WriteString(cell + "  ")
	}
	return strings.TrimRight(b.String(), " ")
}

// tableRows is how many rows are held to find how wide the columns must be. Those that
// follow keep to them, so that a million orders need no more memory than these.
const tableRows = limitForPeople

// listing writes things as they are read: a JSON object a line, or for people a table,
// whose heads stand before the first row.
type listing[T any] struct {
	w       io.Writer
	asJSON  bool
	heading string // stands before the table; empty for none
	heads   []string
	row     func(T) []string
	grid    grid
	shown   int // how many things were added
}

func (l *listing[T]) add(v T) error {
	if l.shown++; l.asJSON {
		return writeJSON(l.w, v)
	}
	if l.shown == 1 {
		if _, err := io.WriteString(l.w, l.heading); err != nil {
			return err
		}
		l.grid.add(l.heads...)
	}
	if l.grid.add(l.row(v)...); len(l.grid.rows) <= tableRows {
		return nil
	}
	return l.grid.write(l.w)
}

// close writes what is left. Where nothing was added it says none, for people.
func (l *listing[T]) close(none string) error {
	if l.shown == 0 && !l.asJSON && none != "" {
		_, err := fmt.Fprintln(l.w, none)
		return err
	}
	return l.grid.write(l.w)
}

// columns are for grid.right.
func columns(at ...int) func(int) bool {
	return func(i int) bool { return slices.Contains(at, i) }
}

// newTable is a list of orders in one state, for people.
func newTable(w io.Writer, t explain.Teller, heading string, state tasks.State) *listing[ledger.Order] {
	return &listing[ledger.Order]{w: w, heading: heading, heads: t.Heads(state), row: t.Row, grid: grid{right: columns(2, 3, 4)}}
}

// statsTable has a line a merchant, and one for all together where there are several.
// The amount is that of the paid orders that are in the ledger: those that have left it
// count neither there nor here.
func statsTable(w io.Writer, t explain.Teller, ledgers []*ledger.Ledger, all map[string]ledger.Stats) error {
	g := grid{right: func(int) bool { return true }}
	g.add(t.StatsHeads()...)
	sum := ledger.Stats{Orders: map[tasks.State]int64{}}
	for _, l := range ledgers {
		s := all[l.MchID()]
		g.add(t.StatsRow(l.MchID(), s)...)
		for state, n := range s.Orders {
			sum.Orders[state] += n
		}
		sum.PaidAmount += s.PaidAmount
	}
	if len(ledgers) > 1 {
		g.add(t.StatsRow("", sum)...)
	}
	return g.write(w)
}
