export { type ReportFinding, renderReport, reportOf } from './report.ts';
