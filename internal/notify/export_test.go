package notify

import "time"

// AnswerWithin is the time from a notification's last byte to its answer.
const AnswerWithin = answerWithin

// SetAnswerWithin changes it, while the receiver processes no notification, and returns what
// it was.
func (r *Receiver) SetAnswerWithin(d time.Duration) (was time.Duration) {
	was, r.within = r.within, d
	return was
}
