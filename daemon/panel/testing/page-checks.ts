/** What every page must hold for everybody (WCAG 2.2 AA), as far as a program can see it. Runs inside the page. */
import type { Page } from 'playwright-core';

/** The faults of the page as it is shown now, in words; an empty list is a page in order. */
export const faultsOf = (page: Page): Promise<readonly string[]> => page.evaluate(faultsInPage);

function faultsInPage(): readonly string[] {
  const faults: string[] = [];
  const all = <E extends Element = HTMLElement>(selector: string) =>
    Array.from(document.querySelectorAll<E>(selector));
  const shown = (element: Element) =>
    element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) &&
    element.closest('.unseen, .skip') === null;
  const told = (element: Element) => {
    const text = (element.textContent ?? '').trim().replace(/\s+/g, ' ').slice(0, 40);
    return `<${element.tagName.toLowerCase()}> ${text || element.id || element.className.toString()}`;
  };

  if (document.documentElement.scrollWidth > innerWidth) faults.push('the page is wider than the window');
  if (document.querySelectorAll('h1').length !== 1) faults.push('there is not exactly one h1');
  if (document.documentElement.lang === '') faults.push('the page has no language');

  const ids = all('[id]').map(({ id }) => id);
  for (const id of new Set(ids.filter((each, at) => ids.indexOf(each) !== at)))
    faults.push(`two elements are #${id}`);

  for (const field of all<HTMLInputElement>('input, select, textarea')) {
    if ((field.labels?.length ?? 0) === 0 && !field.hasAttribute('aria-label'))
      faults.push(`no label: ${told(field)}`);
  }
  for (const control of all('a[href], button, summary')) {
    if ((control.textContent ?? '').trim() === '' && !control.hasAttribute('aria-label'))
      faults.push(`no name: ${told(control)}`);
  }
  for (const image of all<SVGSVGElement>('svg')) {
    if (image.getAttribute('aria-hidden') !== 'true')
      faults.push(`a drawing that screen readers would read out`);
  }
  for (const reference of all('[aria-labelledby], [aria-describedby], [aria-controls]')) {
    for (const name of ['aria-labelledby', 'aria-describedby', 'aria-controls']) {
      for (const id of (reference.getAttribute(name) ?? '').split(' ').filter((each) => each !== ''))
        if (document.getElementById(id) === null) faults.push(`${name} of ${told(reference)} leads nowhere`);
    }
  }

  // 2.5.8: targets of 24 by 24; links in running text are excepted.
  for (const target of all('button, summary, input, select, .ways a, .tabs a, .place a')) {
    if (!shown(target)) continue;
    const { width, height } = target.getBoundingClientRect();
    const label = target.closest('label')?.getBoundingClientRect();
    if (Math.max(width, label?.width ?? 0) < 24 || Math.max(height, label?.height ?? 0) < 24)
      faults.push(`only ${Math.round(width)} × ${Math.round(height)}: ${told(target)}`);
  }

  // 1.4.3: text against the nearest painted ground behind it.
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })!;
  const rgba = (colour: string) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour: readonly number[]) => {
    const [r = 0, g = 0, b = 0] = colour
      .slice(0, 3)
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set<Element>();
  for (let node = texts.nextNode(); node !== null; node = texts.nextNode()) {
    const element = node.parentElement;
    if (element === null || seen.has(element) || (node.nodeValue ?? '').trim() === '') continue;
    seen.add(element);
    if (!shown(element) || element.closest('svg, option, :disabled') !== null) continue;
    let ground: Element | null = element;
    while (ground !== null && (rgba(getComputedStyle(ground).backgroundColor)[3] ?? 0) < 255)
      ground = ground.parentElement;
    const pair = [
      getComputedStyle(element).color,
      getComputedStyle(ground ?? document.documentElement).backgroundColor,
    ];
    const [dark = 0, light = 0] = pair.map((colour) => luminance(rgba(colour))).sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${told(element)}`);
  }
  return faults;
}
