/** @jsxImportSource preact */
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { useTown } from '../live-town.js';

/** The first page shown keeps the browser's own focus; only later ones move it. */
let firstPage = true;

interface PageHeadProps {
  readonly title: string;
  readonly lead?: ComponentChildren;
  readonly children?: ComponentChildren;
}

/** Heading of a page. A new page names itself in the window's title and takes the focus, so that it is read out. */
export function PageHead({ title, lead, children }: PageHeadProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  const town = useTown().status?.town.name ?? 'Mergetown';
  useEffect(() => {
    document.title = `${title} · ${town}`;
  }, [title, town]);
  useEffect(() => {
    if (!firstPage) {
      heading.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    firstPage = false;
  }, []);
  return (
    <div class="page-head">
      <div>
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {lead !== undefined && <p class="lead">{lead}</p>}
      </div>
      {children !== undefined && <div class="page-actions">{children}</div>}
    </div>
  );
}
