// Screen or paper, and how wide a figure may be there.

const PAPER_PIXELS = 690;
const PAPER_PANEL_PIXELS = 250;
const SCREEN_PANEL_PIXELS = 390;

export const paper = matchMedia("print");

export function isOnPaper() {
  return paper.matches;
}

// Least width of a panel of a figure.
export function leastPanelWidth() {
  return isOnPaper() ? PAPER_PANEL_PIXELS : SCREEN_PANEL_PIXELS;
}

// A sheet is narrower than the window that it is printed from, and figures do not shrink by themselves.
export function figureWidth(figure) {
  return isOnPaper() ? PAPER_PIXELS : figure.clientWidth;
}
