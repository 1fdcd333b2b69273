package asynqx

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
)

// Complaints counts and logs the warnings and errors of the asynq servers of a
// process. asynq reports some faults nowhere else: a message that it cannot decode,
// for example, stops its recovery of lost tasks.
type Complaints struct {
	log     zerolog.Logger
	serves  func() bool
	total   *prometheus.CounterVec
	channel sync.Once // the refused channel has been logged
	exit    func(int) // os.Exit but in tests
}

// NewComplaints registers the metric with reg. While serves is false, another log
// line says what is wrong with Redis: asynq's are written at debug level then.
func NewComplaints(reg prometheus.Registerer, serves func() bool, log zerolog.Logger) *Complaints {
	c := &Complaints{log: log, serves: serves, exit: os.Exit, total: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "payscore_asynq_complaints_total",
		Help: "Warnings and errors of asynq; kind undecodable stops asynq's own recovery of lost tasks.",
	}, []string{"mchid", "kind"})}
	reg.MustRegister(c.total)
	return c
}

// Logger returns the logger for the asynq servers of a merchant. What asynq calls
// information (each of its goroutines starts and stops) is written at debug level.
func (c *Complaints) Logger(mchid string) asynq.Logger {
	return &logger{
		Complaints:  c,
		log:         c.log.With().Str(logging.FieldMchID, mchid).Str(logging.FieldComponent, "asynq").Logger(),
		undecodable: c.total.WithLabelValues(mchid, "undecodable"),
		other:       c.total.WithLabelValues(mchid, "other"),
	}
}

// Forget takes the metrics of a merchant away that is no longer served.
func (c *Complaints) Forget(mchid string) {
	c.total.DeletePartialMatch(prometheus.Labels{"mchid": mchid})
}

type logger struct {
	*Complaints
	log                zerolog.Logger
	undecodable, other prometheus.Counter
}

func (l *logger) Debug(args ...any) {
	l.log.Debug().Str(logging.FieldEvent, "asynq_note").Msg(fmt.Sprint(args...))
}

func (l *logger) Info(args ...any) { l.Debug(args...) }

func (l *logger) Warn(args ...any) { l.complain(zerolog.WarnLevel, fmt.Sprint(args...)) }

func (l *logger) Error(args ...any) {
	if text := fmt.Sprint(args...); !l.refusedChannel(text) {
		l.complain(zerolog.ErrorLevel, text)
	}
}

// Fatal ends the process with status 1, as asynq.Logger demands: what asynq does
// after a Fatal that returned is undefined. The line is written first, and nothing
// owed is lost by the exit: orders under way are due again by lease.
func (l *logger) Fatal(args ...any) {
	l.complain(zerolog.FatalLevel, fmt.Sprint(args...))
	l.exit(1)
}

// complain uses WithLevel because Logger.Fatal would exit by itself, and be silent
// where the level is switched off.
func (l *logger) complain(level zerolog.Level, text string) {
	if level != zerolog.FatalLevel && !l.serves() {
		level = zerolog.DebugLevel
	}
	l.log.WithLevel(level).Str(logging.FieldEvent, "asynq_complaint").Msg(text)
	if strings.Contains(text, "cannot decode message") {
		l.undecodable.Inc()
	} else {
		l.other.Inc()
	}
}

// refusedChannel reports whether the text says that Redis refuses asynq's channel of
// cancellations, which each of asynq's servers repeats every five seconds. It is
// logged once in a process. Nothing is lost by it: no step is ever cancelled that
// way.
func (l *logger) refusedChannel(text string) bool {
	_, said, ok := strings.Cut(text, "cannot subscribe to cancelation channel: ")
	if !ok {
		return false
	}
	refusal := redisconn.ExplainText(said)
	if refusal == nil || refusal.Kind != redisconn.Denied && refusal.Kind != redisconn.Unsupported && refusal.Kind != redisconn.Refused {
		return false
	}
	l.channel.Do(func() {
		l.Complaints.log.Warn().Str(logging.FieldEvent, "redis_channel_refused").Str(logging.FieldError, refusal.Said).
			Msg("Redis refuses a subscription that work can do without: " + refusal.Remedy)
	})
	return true
}
