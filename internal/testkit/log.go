package testkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// LogBuffer is an output that can be read while other goroutines write to it: a
// log, or the output of a process. The zero value is empty and ready to use.
type LogBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends p.
func (b *LogBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns all that was written.
func (b *LogBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Take returns all that was written, and empties the buffer.
func (b *LogBuffer) Take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.buf.Reset()
	return b.buf.String()
}

// Lines returns the whole lines, without their newlines. A last line that is still
// being written is left out.
func (b *LogBuffer) Lines() []string {
	lines := strings.Split(b.String(), "\n")
	return lines[:len(lines)-1]
}

// Has reports whether the text stands anywhere in the buffer.
func (b *LogBuffer) Has(text string) bool { return strings.Contains(b.String(), text) }

// Record is one line of a JSON log, by field.
type Record map[string]any

// Records returns the lines that are JSON objects.
func (b *LogBuffer) Records() []Record {
	var all []Record
	for _, line := range b.Lines() {
		var r Record
		if json.Unmarshal([]byte(line), &r) == nil && r != nil {
			all = append(all, r)
		}
	}
	return all
}

// Events returns the log lines with this value of the field "event" that also have
// every given field: Events("hold_set", "mchid", "1900000001", "attempt", 2). Values
// are compared as fmt.Sprint prints them.
func (b *LogBuffer) Events(event string, nameValue ...any) []Record {
	if len(nameValue)%2 != 0 {
		panic("testkit: LogBuffer.Events wants names and values in pairs")
	}
	return slices.DeleteFunc(b.Records(), func(r Record) bool {
		if r["event"] != event {
			return true
		}
		for i := 0; i < len(nameValue); i += 2 {
			if !r.is(nameValue[i].(string), nameValue[i+1]) {
				return true
			}
		}
		return false
	})
}

// HasEvent reports whether Events finds a line.
func (b *LogBuffer) HasEvent(event string, nameValue ...any) bool {
	return len(b.Events(event, nameValue...)) > 0
}

// Messages returns the lines whose message begins with prefix.
func (b *LogBuffer) Messages(prefix string) []Record {
	return slices.DeleteFunc(b.Records(), func(r Record) bool {
		message, _ := r["message"].(string)
		return !strings.HasPrefix(message, prefix)
	})
}

func (r Record) is(name string, want any) bool {
	got, ok := r[name]
	if !ok {
		return false
	}
	if n, isNumber := got.(float64); isNumber {
		if n == float64(int64(n)) {
			return fmt.Sprint(int64(n)) == fmt.Sprint(want) || fmt.Sprint(n) == fmt.Sprint(want)
		}
	}
	return fmt.Sprint(got) == fmt.Sprint(want)
}
