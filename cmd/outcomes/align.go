package main

import (
	"io"
	"strings"

	"payscore-collector/internal/explain"
)

// grid is lines of cells in aligned columns, two blanks apart.
type grid struct {
	right  []bool // columns that are aligned to the right
	rows   [][]string
	widths []int // what each column has needed so far
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

// write writes the lines and forgets them. The widths stay: lines that are added
// later keep to them, but where one is too long.
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
		if i < len(g.right) && g.right[i] {
			cell = blanks + cell
		} else {
			cell += blanks
		}
		b.WriteString(cell + "  ")
	}
	return strings.TrimRight(b.String(), " ")
}
