// Keeps pages up to date, and copies texts. Without it every page works as it was loaded.
'use strict'

const part = () => document.getElementById('live')

// Nobody loses what they type, tick or have opened.
const busy = () => {
  const live = part()
  return !live || !!live.querySelector('input[name=no]:checked, details[open] form') ||
    (document.activeElement && document.activeElement.closest('#live form'))
}

let stale = false
let last = 0
const refresh = () => {
  if (!stale || document.hidden || busy()) return
  const wait = last + 1000 - Date.now()
  if (wait > 0) {
    setTimeout(refresh, wait)
    return
  }
  stale = false
  last = Date.now()
  document.body.dispatchEvent(new Event('live'))
}

let source = null
let again = 0 // the timer after which a stream that was refused is requested again
let pause = 0 // its ms
const connect = () => {
  const url = document.body.dataset.live
  if (!url || source || document.hidden || !window.EventSource) return
  source = new EventSource(url)
  const mark = () => { stale = true; refresh() }
  source.addEventListener('changed', mark)
  source.addEventListener('beat', mark)
  source.addEventListener('open', () => {
    pause = 0
    document.body.classList.add('is-live')
  })
  source.addEventListener('error', () => {
    document.body.classList.remove('is-live')
    // The browser asks again by itself after a lost connection, but not after a refusal.
    if (!source || source.readyState !== EventSource.CLOSED) return
    source = null
    pause = Math.min(2 * pause || 3000, 60000)
    clearTimeout(again)
    again = setTimeout(connect, pause)
  })
}

// A browser has few connections to one address: hidden pages keep none.
document.addEventListener('visibilitychange', () => {
  if (document.hidden && source) {
    source.close()
    source = null
    document.body.classList.remove('is-live')
  } else if (!document.hidden) {
    stale = true
    connect()
    refresh()
  }
})

document.addEventListener('click', event => {
  const button = event.target.closest('[data-copy]')
  if (!button || !navigator.clipboard) return
  navigator.clipboard.writeText(button.dataset.copy).then(() => {
    const before = button.textContent
    button.textContent = button.dataset.done
    setTimeout(() => { button.textContent = before }, 1500)
  })
})

document.addEventListener('change', event => {
  if (event.target.matches('[data-tick-all]')) {
    for (const box of document.querySelectorAll('input[name=no]')) box.checked = event.target.checked
  }
})

connect()
