package logging

import (
	"fmt"
	"os"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"
)

// AsynqLogger returns a logger for asynq.Config that writes through log.
//
// onComplaint, where it is not nil, is called with the text of every warning
// and error. asynq reports some faults nowhere else, and some of them only as
// warnings: an undecodable message that stops the recovery of lost tasks is
// one. onComplaint is called from asynq's goroutines, several at once; it must
// neither block nor panic.
//
// While hushed, where it is not nil, is true, warnings and errors are written at
// debug level; onComplaint is called all the same. It is for times of which
// somebody else has said what is wrong: with Redis away asynq has several lines
// a second that say nothing else.
//
// What asynq calls information (each of its goroutines starting and stopping)
// is written at debug level: there is an asynq server for every merchant, and
// the worker says itself when it starts and stops.
func AsynqLogger(log zerolog.Logger, onComplaint func(msg string), hushed func() bool) asynq.Logger {
	if onComplaint == nil {
		onComplaint = func(string) {}
	}
	if hushed == nil {
		hushed = func() bool { return false }
	}
	return &asynqLogger{
		log:         log.With().Str(FieldComponent, "asynq").Logger(),
		onComplaint: onComplaint,
		hushed:      hushed,
		exit:        os.Exit,
	}
}

type asynqLogger struct {
	log         zerolog.Logger
	onComplaint func(string)
	hushed      func() bool
	exit        func(int) // os.Exit but in tests
}

func (l *asynqLogger) Debug(args ...any) { l.log.Debug().Msg(fmt.Sprint(args...)) }

func (l *asynqLogger) Info(args ...any) { l.log.Debug().Msg(fmt.Sprint(args...)) }

func (l *asynqLogger) Warn(args ...any) { l.complain(zerolog.WarnLevel, args) }

func (l *asynqLogger) Error(args ...any) { l.complain(zerolog.ErrorLevel, args) }

// Fatal ends the process with status 1, as asynq.Logger demands: what asynq
// does after a Fatal that returned is undefined. The line is written first, and
// nothing owed is lost by the exit: orders under way are due again by lease.
func (l *asynqLogger) Fatal(args ...any) {
	l.complain(zerolog.FatalLevel, args)
	l.exit(1)
}

// complain uses WithLevel because Logger.Fatal would exit by itself, and be
// silent where the level is switched off.
func (l *asynqLogger) complain(level zerolog.Level, args []any) {
	msg := fmt.Sprint(args...)
	if level != zerolog.FatalLevel && l.hushed() {
		level = zerolog.DebugLevel
	}
	l.log.WithLevel(level).Msg(msg)
	l.onComplaint(msg)
}
