package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"payscore-collector/tasks"
)

// table is one of the closing tables.
type table struct {
	head []string
	rows [][]string
}

// tables are what a run comes to: the breaches, what no program can prevent, and
// what was done.
func (res *result) tables() []table {
	breaches := table{head: []string{"breaches of a promise", "times"}}
	for _, row := range rows {
		breaches.rows = append(breaches.rows, []string{row, fmt.Sprint(len(res.breaches[row]))})
	}
	beyond := table{head: []string{"beyond physics, each with its cause proven", "times", "at most by"}}
	for _, row := range slices.Sorted(maps.Keys(res.beyond)) {
		x := res.beyond[row]
		most := ""
		if x.most > 0 {
			most = x.most.Round(time.Millisecond).String()
		}
		beyond.rows = append(beyond.rows, []string{row, fmt.Sprint(x.times), most})
	}
	done := table{head: []string{"faults", "times", "found nothing to hit"}}
	b := &res.e.journal
	all := maps.Clone(b.misses)
	maps.Copy(all, b.hits)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		missed := ""
		if n := b.misses[name]; n > 0 {
			missed = fmt.Sprint(n)
		}
		done.rows = append(done.rows, []string{name, fmt.Sprint(b.hits[name]), missed})
	}
	return []table{breaches, beyond, done}
}

// summary says how large the run was.
func (res *result) summary() string {
	f, b := res.e.profile, &res.e.journal
	ends := make([]string, 0, len(tasks.States))
	for _, s := range tasks.States {
		if res.ends[s] > 0 {
			ends = append(ends, fmt.Sprintf("%d %s", res.ends[s], s))
		}
	}
	return fmt.Sprintf(`%d orders (%s), %d calls, at most %d in a second of %v allowed; %d workers killed and %d frozen, in %s (seed %d).
%d notifications delivered, %d of them taken; %d with a SIGNTEST signature, %d of them taken; %d forged ones refused; %d payments beside another end.
%d payments; %d orders were paid in parts, and of %d the total was lowered; %d were reopened. %d counters of the recovery were recounted.
`, f.orders, strings.Join(ends, ", "), len(res.e.calls), res.most, f.rate, len(b.deaths), len(b.freezes), res.e.finished.Sub(res.e.started).Round(time.Second), res.e.seed,
		res.told.Deliveries, res.told.Taken, res.told.SignTests, res.told.SignTestsTaken, res.e.billing.forgeriesRefused, res.late,
		res.payments, res.inParts, res.lowered, len(res.e.billing.reopened), res.counters)
}

// String is the closing tables.
func (res *result) String() string {
	write := table.text
	if *markdownFlag {
		write = table.markdown
	}
	var b strings.Builder
	b.WriteString("\n" + res.summary())
	for _, t := range res.tables() {
		if len(t.rows) > 0 {
			b.WriteString("\n")
			write(t, &b)
		}
	}
	return b.String()
}

func (t table) text(b *strings.Builder) {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for n, row := range append([][]string{t.head}, t.rows...) {
		indent := "  "
		if n == 0 {
			indent = ""
		}
		line := fmt.Sprintf("%s%-*s", indent, widths[0]+2-len(indent), row[0])
		for i, cell := range row[1:] {
			line += fmt.Sprintf("  %*s", widths[i+1], cell)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

func (t table) markdown(b *strings.Builder) {
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = "---:"
	}
	rule[0] = "---"
	for _, row := range append([][]string{t.head, rule}, t.rows...) {
		b.WriteString("| " + strings.ReplaceAll(strings.Join(row, " | "), "  |", " |") + " |\n")
	}
}
