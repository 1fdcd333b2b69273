package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/tasks"
)

type fileCommand struct {
	commonFlags

	Path    string `arg:"" name:"path" help:"The file, or - for standard input."`
	Format  string `enum:"csv,jsonl," default:"" placeholder:"csv|jsonl" help:"How the file holds its rows (default: by its name's ending, else by how it begins)."`
	Rejects string `placeholder:"FILE" help:"Where refused rows go, with line and reason, to be corrected and enqueued again. Created or overwritten only if there are any."`
	DryRun  bool   `help:"Only check every row: valid or invalid. Redis is not asked."`
}

// Help is what "enqueue file --help" says in full.
func (fileCommand) Help() string {
	return `CSV has a header row with out_order_no and any of mchid, appid, service_id, at, amount, owed_since and schedule, in any order; other columns are ignored. JSONL has one object a line with the same names, all strings (amount may be a number). An empty value gets the default. at is when to start: 2006-01-02T15:04:05+08:00, or "2006-01-02 15:04" in Asia/Shanghai. amount is what billing says is owed, in fen (1250 for 12.50 yuan), and owed_since is the start of the debt; both are shown and reported. schedule names a schedule of SCHEDULES_FILE, by which the order is collected; orders without one get that file's default (which may depend on amount), or the worker's settings. If SCHEDULES_FILE is set here too, rows that name another schedule are refused.

    enqueue file orders.csv --rejects rejects.csv
    enqueue file orders.csv --dry-run
    billing-export | enqueue file - --format jsonl --json

Bad rows are reported with their line, and the good ones go in. A file of any length is read in little memory; orders are enqueued 250 at a time. An interrupted command is completed by running it again: what is in already is a duplicate.

The rejects file has the rows as they were, with line and reason added (and raw, for rows that could not be split); corrected, it is enqueued as it is.`
}

func (c fileCommand) run(ctx context.Context, p process, load loader) (int, error) {
	cfg, err := load(!c.DryRun)
	if err != nil {
		return config.ExitUsage, err
	}
	owner, err := c.owner(cfg.Order)
	if err != nil {
		return config.ExitUsage, err
	}
	src, err := openSource(ctx, c.Path, p.Stdin)
	if err != nil {
		return exitFailed, err
	}
	defer src.close()
	if c.Rejects != "" && src.is(c.Rejects) {
		return config.ExitUsage, fmt.Errorf("--rejects %s is the file that is read: name another one", c.Rejects)
	}
	in, err := intake.NewReader(src.r, c.formatOf())
	if err != nil && ctx.Err() != nil {
		return exitFailed, errors.New("interrupted: nothing was enqueued")
	}
	if _, wrong := errors.AsType[*intake.FormatError](err); wrong {
		return config.ExitUsage, fmt.Errorf("%s %w", src.name, err)
	}
	if err != nil {
		return exitFailed, unreadable(src.name, err)
	}
	if err := missing(owner, in.Has); err != nil {
		return config.ExitUsage, fmt.Errorf("%w; or give %s a column of that name", err, src.name)
	}
	r := newReporter(p, c.JSON)
	r.file, r.size = src.name, src.size
	if c.Rejects != "" {
		r.rejects = intake.NewRejects(c.Rejects, in)
		if err := r.rejects.Check(); err != nil {
			return exitFailed, fmt.Errorf("%w; nothing was enqueued", err)
		}
	}
	var client redis.UniversalClient // nil: a dry run
	if !c.DryRun {
		if client, err = connect(ctx, p, cfg); err != nil {
			return exitFailed, fmt.Errorf("%w; nothing was enqueued", err)
		}
		defer client.Close()
	}
	if ignored := in.Ignored(); len(ignored) > 0 {
		r.say("%s: ignored columns: %s", src.name, strings.Join(ignored, ", "))
	}
	return c.submit(ctx, r, in, p.submitter(client, cfg.Schedules, r.say), owner), nil
}

// submit reads the whole file, enqueues its orders and reports the result. It returns
// the exit status.
func (c fileCommand) submit(ctx context.Context, r *reporter, in *intake.Reader, s intake.Submitter, owner tasks.Owner) int {
	var end error // why reading ended
	items := func(yield func(intake.Item) bool) {
		for {
			r.flush() // the next row may take long to arrive
			var row intake.Row
			if row, end = in.Next(); end != nil {
				return
			}
			it := row.Item(owner)
			c.reopening(&it.Order)
			if !yield(it) {
				return
			}
		}
	}
	for it, res := range s.Submit(ctx, items) {
		r.result(it, res)
		r.progress(in.Offset())
	}
	r.flush()
	for _, warning := range in.Warnings() {
		r.say("%s: warning: %s", r.file, warning)
	}
	if r.rejects != nil {
		r.note(r.rejects.Close())
		if _, err := os.Stat(c.Rejects); err == nil && r.rejects.Count() == 0 {
			r.say("no row was refused; %s is from an earlier run", c.Rejects)
		}
	}
	r.summary()
	switch stopped := r.stopped(); {
	case stopped != nil:
		r.say("%v", stopped)
	case errors.Is(end, io.EOF):
		return r.status()
	case ctx.Err() != nil:
		r.say("interrupted after line %d: run the same command again; orders that are in already are answered with duplicate", r.last.Row.Line)
	default:
		r.say("%v, after line %d", unreadable(r.file, end), r.last.Row.Line)
	}
	return exitFailed
}

// formatOf returns the format that the command line names, or "".
func (c fileCommand) formatOf() intake.Format {
	switch ext := strings.ToLower(filepath.Ext(c.Path)); {
	case c.Format != "":
		return intake.Format(c.Format)
	case ext == ".csv":
		return intake.CSV
	case ext == ".jsonl" || ext == ".ndjson":
		return intake.JSONL
	}
	return ""
}

// unreadable words an error of reading a file, whose name the error may hold as well.
func unreadable(name string, err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		err = path.Err
	}
	return fmt.Errorf("%s cannot be read: %w", name, err)
}

// source is what a file of orders is read from.
type source struct {
	r     io.Reader
	name  string      // for messages
	size  int64       // in bytes; 0 where it is not known
	info  os.FileInfo // nil: not a file
	close func()
}

// openSource opens a file, or standard input for "-". Reading a pipe ends with ctx.
func openSource(ctx context.Context, path string, stdin io.Reader) (source, error) {
	src := source{r: stdin, name: "standard input", close: func() {}}
	file, isFile := stdin.(*os.File)
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return src, unreadable(path, err)
		}
		isFile = true
		src.r, src.name, src.close = file, path, func() { _ = file.Close() }
	}
	if isFile {
		if info, err := file.Stat(); err == nil {
			src.info = info
			if info.Mode().IsRegular() {
				src.size = info.Size()
				return src, nil
			}
		}
	}
	// A read that never returns cannot be interrupted, and is left behind.
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { _ = in.CloseWithError(ctx.Err()) })
	from := src.r
	go func() {
		_, err := io.Copy(in, from)
		_ = in.CloseWithError(err) // nil: io.EOF
	}()
	src.r = out
	return src, nil
}

// is reports whether path names this very file.
func (s source) is(path string) bool {
	info, err := os.Stat(path)
	return err == nil && s.info != nil && os.SameFile(info, s.info)
}
