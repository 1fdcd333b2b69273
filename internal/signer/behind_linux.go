package signer

import "syscall"

// lowNice gives a thread a tenth of the processor time of others that want it.
const lowNice = 10

// lowerPriority lowers the priority of the calling thread. Where that is forbidden, its
// signatures give way no more than others.
func lowerPriority() { _ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), lowNice) }
