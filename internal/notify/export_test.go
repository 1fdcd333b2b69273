package notify

// AnswerWithin is the time from a notification's last byte to its answer.
const AnswerWithin = answerWithin
