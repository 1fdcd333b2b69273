package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// source is what a file of orders is read from.
type source struct {
	r     io.Reader
	name  string      // for messages
	size  int64       // in bytes; -1: not known
	info  os.FileInfo // nil: not a file
	close func()
}

// openSource opens a file, or standard input for "-". Reading a pipe ends with
// ctx.
func openSource(ctx context.Context, path string, stdin io.Reader) (source, error) {
	src := source{r: stdin, name: "standard input", size: -1, close: func() {}}
	file, isFile := stdin.(*os.File)
	if path != "-" {
		opened, err := os.Open(path)
		if err != nil {
			var cause *os.PathError
			if errors.As(err, &cause) {
				err = cause.Err
			}
			return src, fmt.Errorf("%s cannot be read: %w", path, err)
		}
		file, isFile = opened, true
		src.r, src.name, src.close = opened, path, func() { _ = opened.Close() }
	}
	regular := false
	if isFile {
		if info, err := file.Stat(); err == nil {
			src.info = info
			if regular = info.Mode().IsRegular(); regular {
				src.size = info.Size()
			}
		}
	}
	if !regular {
		src.r = untilDone(ctx, src.r)
	}
	return src, nil
}

// is reports whether path names this very file.
func (s source) is(path string) bool {
	info, err := os.Stat(path)
	return err == nil && s.info != nil && os.SameFile(info, s.info)
}

// untilDone passes r on until ctx ends, and then ctx's error. A read of r that
// never returns stays behind: standard input cannot be made to give up.
func untilDone(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { _ = in.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(in, r)
		_ = in.CloseWithError(err) // nil: io.EOF
	}()
	return out
}
