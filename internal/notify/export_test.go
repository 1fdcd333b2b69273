package notify

import "time"

// AnswerWithin is the time from a notification's last byte to its answer.
const AnswerWithin = answerWithin

// SetAnswerWithin changes it, while the receiver processes no notification.
func (r *Receiver) SetAnswerWithin(d time.Duration) { r.within = d }
