// Draws the shares of a table by week as curves, one for each number of days. Without it the
// table stands alone.
'use strict'

{
  const colours = ['#b9770e', '#2b83ba', '#35a877', '#7a4fa3', '#1d2623']
  const percent = (chart, value) => value == null ? '-' : value.toFixed(1) + ' %'
  for (const place of document.querySelectorAll('[data-curves]')) {
    const { weeks, names, shares } = JSON.parse(place.dataset.curves)
    const axis = { font: '12px system-ui, sans-serif', stroke: '#56635e', grid: { stroke: '#dbe2de', width: 1 }, ticks: { show: false } }
    const size = () => ({ width: place.clientWidth, height: 220 })
    const chart = new uPlot({
      ...size(),
      scales: { x: { time: false, range: () => [-0.3, weeks.length - 0.7] }, y: { range: (chart, least, most) => [0, Math.max(100, most)] } },
      axes: [
        { ...axis, incrs: [1, 2, 4, 13, 26], space: 50, values: (chart, places) => places.map(i => (weeks[i] || '').slice(5)) },
        { ...axis, size: 48, incrs: [20, 25, 50, 100, 200, 500, 1000], values: (chart, places) => places.map(p => p + ' %') },
      ],
      series: [
        { label: names[0], value: (chart, i) => weeks[i] || '-' },
        ...shares.map((share, i) => ({ label: names[i + 1], stroke: colours[i], width: 2, points: { show: true, size: 6 }, value: percent })),
      ],
      cursor: { drag: { x: false, y: false } },
    }, [weeks.map((week, i) => i), ...shares], place)
    window.addEventListener('resize', () => chart.setSize(size()))
  }
}
