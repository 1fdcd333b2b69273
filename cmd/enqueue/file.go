package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/tasks"
)

type fileCommand struct {
	commonFlags

	Path    string `arg:"" name:"path" help:"The file, or - for standard input."`
	Format  string `enum:"csv,jsonl," default:"" placeholder:"csv|jsonl" help:"How the file holds its rows (default: by its name's ending, else by how it begins)."`
	Rejects string `placeholder:"FILE" help:"Where refused rows go, with line and reason, to be mended and fed in again. Made only where there are any, and then from scratch."`
	DryRun  bool   `help:"Only check every row: valid or invalid. Redis is not asked."`
}

// Help is what "enqueue file --help" says in full.
func (fileCommand) Help() string {
	return `CSV has a header row with out_order_no and any of mchid, appid, service_id, at, amount and owed_since, in any order; other columns are ignored. JSONL has one object a line with the same names, all strings (amount may be a number). A row that leaves a value empty gets the default. at is when to start: 2006-01-02T15:04:05+08:00, or "2006-01-02 15:04" in Asia/Shanghai. amount is what billing says is owed, in fen (1250 for 12.50 yuan), and owed_since is since when; both are shown and reported, and change nothing of how the order is collected.

    enqueue file orders.csv --rejects rejects.csv
    enqueue file orders.csv --dry-run
    billing-export | enqueue file - --format jsonl --json

Bad rows are reported with their line, and the good ones go in. A file of any length is read in little memory; orders are handed over 500 at a time. An interrupted command is completed by running it again: what is in already is a duplicate.

The rejects file has the rows as they were, with line and reason added (and raw, for rows that could not be taken apart); mended, it is fed in as it is.`
}

func (c fileCommand) run(ctx context.Context, p process, s config.ClientSettings) int {
	cfg, err := p.load(s, !c.DryRun)
	if err != nil {
		return p.complain(config.ExitUsage, err)
	}
	d, err := c.defaults(cfg.Order)
	if err != nil {
		return p.complain(config.ExitUsage, err)
	}
	src, err := openSource(ctx, c.Path, p.Stdin)
	if err != nil {
		return p.complain(exitFailed, err)
	}
	defer src.close()
	if c.Rejects != "" && src.is(c.Rejects) {
		return p.complain(config.ExitUsage, fmt.Errorf("--rejects %s is the file that is read: name another one", c.Rejects))
	}
	in, err := intake.NewReader(src.r, c.formatOf())
	if err != nil && ctx.Err() != nil {
		return p.complain(exitFailed, errors.New("interrupted: nothing was handed over"))
	}
	if err != nil {
		return p.complain(statusOf(err), fmt.Errorf("%s %w", src.name, readable(err)))
	}
	if names := missing(d, in.Has); len(names) > 0 {
		return p.complain(config.ExitUsage, fmt.Errorf("missing: %s; or give %s a column of that name", strings.Join(names, ", "), src.name))
	}

	r := newReporter(p, c.JSON)
	r.file = src.name
	if c.Rejects != "" {
		r.rejects = intake.NewRejects(c.Rejects, in)
		if err := r.rejects.Check(); err != nil {
			return p.complain(exitFailed, fmt.Errorf("%w; nothing was handed over", err))
		}
	}
	var to sender = checker{}
	if !c.DryRun {
		client, err := connect(ctx, p, cfg, "handed over")
		if err != nil {
			return p.complain(exitFailed, err)
		}
		defer client.Close()
		to = tasks.NewProducer(client)
	}
	if ignored := in.Ignored(); len(ignored) > 0 {
		r.say("%s: ignored columns: %s", src.name, strings.Join(ignored, ", "))
	}
	if p.StderrTerminal {
		r.bar = newProgress(p.Stderr, src.size)
	}
	return c.handOver(ctx, r, in, handover{to: to, patience: p.patience, say: r.say, pause: r.flush}, d)
}

// handOver reads all of the file and says how it went.
func (c fileCommand) handOver(ctx context.Context, r *reporter, in *intake.Reader, h handover, d config.Order) int {
	start := time.Now()
	var lastLine int64
	h.report = func(it item, res tasks.Result) {
		r.result(it, res)
		lastLine = it.row.Line
		if r.bar != nil {
			r.bar.update(in.Offset(), r.rows)
		}
	}
	var end error // why reading ended
	h.run(ctx, func(yield func(item) bool) {
		for {
			var row intake.Row
			if row, end = in.Next(); end != nil {
				return
			}
			if !yield(c.item(row, d)) {
				return
			}
		}
	})
	r.flush()
	if r.bar != nil {
		r.bar.clear()
		r.bar = nil
	}
	for _, warning := range in.Warnings() {
		r.say("%s: warning: %s", r.file, warning)
	}
	if r.rejects != nil {
		r.note(r.rejects.Close())
		if _, err := os.Stat(c.Rejects); err == nil && r.rejects.Count() == 0 {
			r.say("no row was refused; %s is from an earlier run", c.Rejects)
		}
	}
	r.summary(time.Since(start))
	switch trouble := h.trouble(); {
	case trouble != nil:
		r.say("%v", trouble)
	case errors.Is(end, io.EOF):
		return r.status()
	case ctx.Err() != nil:
		r.say("interrupted after line %d: run the same command again, and what is in already is answered with duplicate", lastLine)
	default:
		r.say("%s %v, after line %d", r.file, readable(end), lastLine)
	}
	return exitFailed
}

func (c fileCommand) item(row intake.Row, d config.Order) item {
	it := item{row: row, order: tasks.Order{
		Payload: tasks.Payload{
			MchID:      or(row.MchID, d.MchID),
			OutOrderNo: row.OutOrderNo,
			AppID:      or(row.AppID, d.AppID),
			ServiceID:  or(row.ServiceID, d.ServiceID),
		},
		At:        row.At,
		Reopen:    c.Reopen,
		Amount:    row.Amount,
		OwedSince: row.OwedSince,
	}}
	return it
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// formatOf is the format that the command line tells, or none.
func (c fileCommand) formatOf() intake.Format {
	if c.Format != "" {
		return intake.Format(c.Format)
	}
	switch strings.ToLower(filepath.Ext(c.Path)) {
	case ".csv":
		return intake.CSV
	case ".jsonl", ".ndjson":
		return intake.JSONL
	}
	return ""
}

// statusOf tells a file of the wrong kind from one that cannot be read.
func statusOf(err error) int {
	var wrong *intake.FormatError
	if errors.As(err, &wrong) {
		return config.ExitUsage
	}
	return exitFailed
}

// readable words an error so that it goes on where the file's name ends.
func readable(err error) error {
	if statusOf(err) == config.ExitUsage {
		return err
	}
	var path *os.PathError // which would name the file once more
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("cannot be read: %w", err)
}
