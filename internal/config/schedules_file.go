package config

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Schedules are the schedules that orders may name. The zero value has none.
type Schedules struct {
	Named map[string]Terms
	// Defaults give a schedule to orders that name none: the first one that fits.
	Defaults []ScheduleDefault

	given bool // there is a file
}

// Terms are how one schedule collects. What it leaves out is as the worker's settings say.
type Terms struct {
	CollectSchedule Schedule
	Window          *Window
	MinGap          *time.Duration
	GiveUpAfter     *time.Duration
}

// In returns the worker's settings as they are for orders with the schedule.
func (t Terms) In(w Work) Work {
	if t.CollectSchedule != nil {
		w.CollectSchedule = t.CollectSchedule
	}
	if t.Window != nil {
		w.Window = *t.Window
	}
	if t.MinGap != nil {
		w.MinGap = *t.MinGap
	}
	if t.GiveUpAfter != nil {
		w.GiveUpAfter = *t.GiveUpAfter
	}
	return w
}

// ScheduleDefault gives orders a schedule. An empty condition fits every order.
type ScheduleDefault struct {
	MchID, ServiceID string
	// AtLeast and Below bound the amount, in fen; 0 is no bound. With a bound, an order
	// whose amount is not known does not fit.
	AtLeast, Below int64
	Schedule       string
}

// Names lists the names, sorted.
func (s Schedules) Names() []string { return slices.Sorted(maps.Keys(s.Named)) }

// Check refuses a name that the file does not have; without a file every name is taken,
// since a worker may have one.
func (s Schedules) Check(name string) error {
	if _, ok := s.Named[name]; ok || name == "" || !s.given {
		return nil
	}
	if len(s.Named) == 0 {
		return fmt.Errorf("%q is not a schedule: SCHEDULES_FILE has none", name)
	}
	return fmt.Errorf("%q is not a schedule: SCHEDULES_FILE has %s", name, strings.Join(s.Names(), ", "))
}

// mostSchedules bounds the file: the workers publish its schedules in Redis.
const mostSchedules = 100

// scheduleName is the form of a schedule's name, as package tasks has it.
var scheduleName = regexp.MustCompile(`^[0-9A-Za-z_.-]{1,32}$`)

// Resolve reads the file, and reports everything that is wrong with it.
func (f SchedulesFlags) Resolve(c *Collector) Schedules {
	if f.SchedulesFile == "" {
		return Schedules{}
	}
	s := Schedules{Named: map[string]Terms{}, given: true}
	data, err := readFile(f.SchedulesFile)
	if err != nil {
		c.Problem("SCHEDULES_FILE", "%v", err)
		return s
	}
	top, err := readDocument(data, yaml.MappingNode, errors.New(`has no schedules: begin with "schedules:", and a line "NAME:" for each one`))
	if err != nil {
		c.Problem("SCHEDULES_FILE", "%v", Text{path: f.SchedulesFile}.names("%v", err))
		return s
	}
	r := schedulesReader{c: c, path: f.SchedulesFile, into: &s}
	var defaults *yaml.Node
	for key, value := range r.members(top, "the file") {
		switch {
		case key.Value == "defaults":
			defaults = value
		case key.Value == "schedules" && value.Kind == yaml.MappingNode:
			for name, terms := range r.members(value.Content, "schedules") {
				r.schedule(name, terms)
			}
		default:
			r.schedule(key, value)
		}
	}
	if len(s.Named) > mostSchedules {
		c.Problem("SCHEDULES_FILE", "%v", Text{path: f.SchedulesFile}.names("has %d schedules: at most %d are allowed", len(s.Named), mostSchedules))
	}
	if defaults != nil {
		r.defaults(defaults)
	}
	return s
}

// schedulesReader reports what is wrong, with lines.
type schedulesReader struct {
	c    *Collector
	path string
	into *Schedules
}

func (r schedulesReader) problem(at *yaml.Node, format string, args ...any) {
	r.c.Problem("SCHEDULES_FILE", "%s, line %d: %s", r.path, at.Line, fmt.Sprintf(format, args...))
}

// members yields keys and values of a mapping; a key that is there twice is a problem.
func (r schedulesReader) members(content []*yaml.Node, what string) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		lines := map[string]int{}
		for pair := range slices.Chunk(content, 2) {
			key, value := pair[0], pair[1]
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			if first, again := lines[key.Value]; again {
				r.problem(key, "%s has %q twice, first on line %d: keep one", what, key.Value, first)
				continue
			}
			lines[key.Value] = key.Line
			if !yield(key, value) {
				return
			}
		}
	}
}

// term is a setting of a schedule, in the range of the worker's setting.
type term struct {
	setting string
	read    func(text string, into *Terms) error
}

func termOf[T any](setting string, set func(*Terms, T)) term {
	return term{setting, func(text string, into *Terms) error {
		value, err := readers[reflect.TypeFor[T]()](text, declared[rank(setting)])
		if err == nil {
			set(into, value.(T))
		}
		return err
	}}
}

var termsByName = map[string]term{
	"collect_schedule": termOf("COLLECT_SCHEDULE", func(t *Terms, v Schedule) { t.CollectSchedule = v }),
	"window":           termOf("COLLECT_WINDOW", func(t *Terms, v Window) { t.Window = &v }),
	"min_gap":          termOf("MIN_GAP", func(t *Terms, v time.Duration) { t.MinGap = &v }),
	"give_up_after":    termOf("GIVE_UP_AFTER", func(t *Terms, v time.Duration) { t.GiveUpAfter = &v }),
}

func (r schedulesReader) schedule(key, value *yaml.Node) {
	name := key.Value
	if !scheduleName.MatchString(name) {
		r.problem(key, "a schedule is named %q: a name has 1 to 32 characters of 0-9 A-Z a-z _ . -", name)
		return
	}
	r.into.Named[name] = Terms{} // a default that names it is no second problem
	if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
		r.problem(key, "schedule %s says nothing: write at least one of %s below it", name, strings.Join(termNames, ", "))
		return
	}
	var terms Terms
	for key, value := range r.members(value.Content, "schedule "+name) {
		term, ok := termsByName[key.Value]
		switch {
		case !ok:
			r.problem(key, "schedule %s has %q, which is unknown: write %s", name, key.Value, strings.Join(termNames, ", "))
			continue
		case value.Kind != yaml.ScalarNode:
			r.problem(key, "%s of schedule %s is a list or a mapping: write a single value, as in %s", key.Value, name, term.setting)
			continue
		}
		if err := term.read(strings.TrimSpace(value.Value), &terms); err != nil {
			r.problem(key, "%s of schedule %s %v", key.Value, name, err)
		}
	}
	r.into.Named[name] = terms
}

var termNames = []string{"collect_schedule", "window", "min_gap", "give_up_after"}

var defaultNames = []string{"mchid", "service_id", "amount_at_least", "amount_below", "schedule"}

func (r schedulesReader) defaults(list *yaml.Node) {
	if list.Kind != yaml.SequenceNode {
		r.problem(list, `defaults is not a list: begin each with "- schedule: NAME"`)
		return
	}
	for _, item := range list.Content {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		if item.Kind != yaml.MappingNode {
			r.problem(item, "a default is not a mapping: write %s as KEY: VALUE lines", strings.Join(defaultNames, ", "))
			continue
		}
		if d, ok := r.oneDefault(item); ok {
			r.into.Defaults = append(r.into.Defaults, d)
		}
	}
}

func (r schedulesReader) oneDefault(item *yaml.Node) (d ScheduleDefault, ok bool) {
	ok = true
	wrong := func(at *yaml.Node, format string, args ...any) {
		ok = false
		r.problem(at, format, args...)
	}
	for key, value := range r.members(item.Content, "a default") {
		text := strings.TrimSpace(value.Value)
		if value.Kind != yaml.ScalarNode || text == "" {
			wrong(key, "%s of a default is not a single value", key.Value)
			continue
		}
		var err error
		switch key.Value {
		case "mchid":
			d.MchID, err = text, forms["mchid"](text, Declared{})
		case "service_id":
			d.ServiceID, err = text, forms["service_id"](text, Declared{})
		case "amount_at_least":
			d.AtLeast, err = readFen(text)
		case "amount_below":
			d.Below, err = readFen(text)
		case "schedule":
			d.Schedule = text
			if _, ok := r.into.Named[text]; !ok {
				err = fmt.Errorf("is %q, which the file does not have", text)
			}
		default:
			err = fmt.Errorf("is unknown: write %s", strings.Join(defaultNames, ", "))
		}
		if err != nil {
			wrong(key, "%s of a default %v", key.Value, err)
		}
	}
	switch {
	case ok && d.Schedule == "":
		wrong(item, "a default names no schedule: write schedule: NAME")
	case ok && d.Below > 0 && d.AtLeast >= d.Below:
		wrong(item, "a default fits no order: amount_at_least is %d, and amount_below is %d", d.AtLeast, d.Below)
	}
	return d, ok
}

// mostFen is as much as an order can have: ledger.MaxAmount.
const mostFen = 10_000_000_000_000

func readFen(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > mostFen {
		return 0, fmt.Errorf("is %q: write a whole number of fen, from 1 to %d", text, int64(mostFen))
	}
	return n, nil
}
